"""The function behind `vllm bench serve`, entered by itself.

The command itself asks for the version of a distribution called vllm, and the one for CPUs has another name.
"""

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args())
