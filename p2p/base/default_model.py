"""The model that a network without another choice serves. Law: one name, imported by whoever needs it; costs nothing to
import."""

DEFAULT_MODEL = "SmolLM2-135M-Instruct"
