"""The protobuf messages of a gossipsub RPC, one level each.

Law: a part that has parts of its own is bytes here, so reading one level makes a few bytes for each part and no object.

Field numbers are those of the libp2p specifications (pubsub, gossipsub v1.2). Topics are bytes, because older libraries
send any.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE: Final = "folkmoot.gossipsub"
_BYTES, _BOOL, _U64 = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_BOOL, FieldDescriptorProto.TYPE_UINT64
_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
_Field = tuple[int, str, Any, Any]
_LEVELS: Final[dict[str, tuple[_Field, ...]]] = {
    "Rpc": ((1, "subscriptions", _BYTES, _MANY), (2, "publish", _BYTES, _MANY), (3, "control", _BYTES, _MANY)),
    "Subscription": ((1, "subscribe", _BOOL, _ONE), (2, "topic", _BYTES, _ONE)),
    "Message": (
        (1, "author", _BYTES, _ONE), (2, "data", _BYTES, _ONE), (3, "seqno", _BYTES, _ONE),
        (4, "topic", _BYTES, _MANY), (5, "signature", _BYTES, _ONE), (6, "key", _BYTES, _ONE),
    ),
    "Control": (
        (1, "ihave", _BYTES, _MANY), (2, "iwant", _BYTES, _MANY), (3, "graft", _BYTES, _MANY),
        (4, "prune", _BYTES, _MANY), (5, "idontwant", _BYTES, _MANY),
    ),
    "IHave": ((1, "topic", _BYTES, _ONE), (2, "ids", _BYTES, _MANY)),
    "IWant": ((1, "ids", _BYTES, _MANY),),  # and IDONTWANT
    "Graft": ((1, "topic", _BYTES, _ONE),),
    "Prune": ((1, "topic", _BYTES, _ONE), (2, "peers", _BYTES, _MANY), (3, "backoff", _U64, _ONE)),
    "PeerInfo": ((1, "peer", _BYTES, _ONE), (2, "record", _BYTES, _ONE)),
}


def _made() -> dict[str, Any]:
    file = FileDescriptorProto(name="folkmoot/gossipsub.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _LEVELS.items():
        message = file.message_type.add(name=name)
        for number, field, kind, label in fields:
            message.field.add(name=field, number=number, type=kind, label=label)
    pool = DescriptorPool()  # of our own: the default one belongs to the whole process
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _LEVELS}


_made_classes = _made()
Rpc = _made_classes["Rpc"]
Subscription = _made_classes["Subscription"]
Message = _made_classes["Message"]
Control = _made_classes["Control"]
IHave = _made_classes["IHave"]
IWant = _made_classes["IWant"]
Graft = _made_classes["Graft"]
Prune = _made_classes["Prune"]
PeerInfo = _made_classes["PeerInfo"]
