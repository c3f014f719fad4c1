"""A Python client, generated from proto/ with grpcio-tools: every operation, as grpcio sees it.

Usage: client.py HOST:PORT,... Requests go in turn to the nodes n1, n2 and so on at these addresses.
Prints a line for each check ("ok name", "not ok name: why") and "done N" at the end.
"""

import sys
import traceback

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from google.protobuf.descriptor_pool import DescriptorPool

from kv import kv_pb2, kv_pb2_grpc
from quorate.v1 import error_pb2, kv_pb2 as quorate_pb2, kv_pb2_grpc as quorate_pb2_grpc

ADDRESSES = sys.argv[1]
NODES = [f"n{index + 1}" for index in range(len(ADDRESSES.split(",")))]
LIMIT_S = 10
MIB = 1024 * 1024
OPTIONS = [
    ("grpc.max_receive_message_length", 8 * MIB),
    ("grpc.max_send_message_length", 8 * MIB),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # Without it the list of addresses would be sent as the name of the host.
    ("grpc.default_authority", "localhost"),
]
CHECKS = []


def check(run):
    CHECKS.append(run)
    return run


channel = grpc.insecure_channel(f"ipv4:{ADDRESSES}", options=OPTIONS)
store = quorate_pb2_grpc.KvServiceStub(channel)
original = kv_pb2_grpc.KVStoreStub(channel)


def same(actual, expected, what="value"):
    if actual != expected:
        raise AssertionError(f"{what} is {str(actual)[:200]!r}, not {str(expected)[:200]!r}")


def fails(call, code, slug=None):
    """The ErrorDetail of a call that must fail with `code`."""
    try:
        call()
    except grpc.RpcError as error:
        same(error.code(), code, f"code ({error.details()})")
        if slug is None:
            return None
        status = rpc_status.from_call(error)
        if status is None or len(status.details) != 1:
            raise AssertionError(f"no single detail in {status}")
        detail = error_pb2.ErrorDetail()
        if not status.details[0].Unpack(detail):
            raise AssertionError(f"the detail is a {status.details[0].type_url}")
        same(detail.slug, slug, "slug")
        same(status.message, error.details(), "message")
        return detail
    raise AssertionError("the call succeeded")


def put(key, value, **more):
    return store.Put(quorate_pb2.PutRequest(key=key, value=value, **more), timeout=LIMIT_S)


def get(key, **more):
    return store.Get(quorate_pb2.GetRequest(key=key, **more), timeout=LIMIT_S)


@check
def put_get_and_delete():
    written = put(b"py/a", b"one", content_type="text/plain")
    same(written.durability, quorate_pb2.DURABILITY_FSYNC, "durability")
    same(written.answer.replicas, len(NODES), "replicas")
    same(written.answer.replies > len(NODES) / 2, True, "a majority")
    same(written.answer.node in NODES, True, "node")
    read = get(b"py/a")
    same(read.record.value, b"one")
    same(read.record.content_type, "text/plain", "content type")
    same(read.record.version, written.version, "version")
    gone = store.Delete(quorate_pb2.DeleteRequest(key=b"py/a"), timeout=LIMIT_S)
    if gone.version.hlc <= written.version.hlc:
        raise AssertionError("the deletion is not newer than the write")
    fails(lambda: get(b"py/a"), grpc.StatusCode.NOT_FOUND, "key-not-found")
    store.Delete(quorate_pb2.DeleteRequest(key=b"py/a"), timeout=LIMIT_S)


@check
def binary_keys_and_values():
    every = bytes(range(256))
    for key in (every, b"\x00", b"\xff\xfe", b"../x", b"py//x", b"x" * 1024):
        put(key, every)
        same(get(key).record.value, every)
    for value in (b"", b"\x00" * 100_000, b"\xfe" * MIB):
        put(b"py/binary", value)
        same(get(b"py/binary").record.value, value)


@check
def metadata_and_expiry():
    meta = [quorate_pb2.MetaEntry(name="owner", value="Ada L.")]
    written = put(b"py/meta", b"1", meta=meta, ttl_seconds=3600)
    record = get(b"py/meta").record
    same([(entry.name, entry.value) for entry in record.meta], [("owner", "Ada L.")], "meta")
    same(record.expires_at_ms, written.expires_at_ms, "expiry")
    same(record.HasField("expires_at_ms"), True, "has expiry")


@check
def list_by_prefix_and_pages():
    keys = [b"py-list/%02d" % number for number in range(25)]
    for key in keys:
        put(key, b"value of " + key)
    seen, cursor = [], ""
    while True:
        page = store.List(
            quorate_pb2.ListRequest(prefix=b"py-list/", limit=10, cursor=cursor, values=True),
            timeout=LIMIT_S,
        )
        seen += [(item.key, item.value) for item in page.items]
        cursor = page.next
        if cursor == "":
            break
    same(seen, [(key, b"value of " + key) for key in keys], "items")
    backwards = store.List(
        quorate_pb2.ListRequest(start=b"py-list/05", end=b"py-list/08", reverse=True),
        timeout=LIMIT_S,
    )
    same([item.key for item in backwards.items], keys[7:4:-1], "reversed keys")
    counted = store.Count(quorate_pb2.CountRequest(prefix=b"py-list/"), timeout=LIMIT_S)
    same((counted.keys, counted.bytes, counted.exact), (25, 25 * 19, True), "count")


@check
def batch():
    big = b"v" * (MIB + 1)
    answer = store.Batch(
        quorate_pb2.BatchRequest(
            operations=[
                quorate_pb2.BatchOperation(put=quorate_pb2.BatchPut(key=b"py/b", value=b"1")),
                quorate_pb2.BatchOperation(get=quorate_pb2.BatchGet(key=b"py/b")),
                quorate_pb2.BatchOperation(put=quorate_pb2.BatchPut(key=b"py/big", value=big)),
                quorate_pb2.BatchOperation(get=quorate_pb2.BatchGet(key=b"")),
                quorate_pb2.BatchOperation(delete=quorate_pb2.BatchDelete(key=b"py/b")),
                quorate_pb2.BatchOperation(get=quorate_pb2.BatchGet(key=b"py/b")),
            ]
        ),
        timeout=LIMIT_S,
    )
    kinds = [result.WhichOneof("result") for result in answer.results]
    same(kinds, ["put", "get", "error", "error", "delete", "get"], "kinds")
    same(answer.results[1].get.record.value, b"1")
    same(answer.results[2].error.slug, "value-too-large", "slug")
    same(answer.results[2].error.outcome, error_pb2.OUTCOME_NONE, "outcome")
    same(answer.results[3].error.slug, "invalid-key", "slug")
    same(answer.results[5].get.HasField("record"), False, "record after the delete")


@check
def errors():
    detail = fails(lambda: get(b"py/none"), grpc.StatusCode.NOT_FOUND, "key-not-found")
    same((detail.status, detail.key, detail.namespace), (404, b"py/none", "default"), "detail")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    fails(lambda: get(b""), invalid, "invalid-key")
    detail = fails(lambda: put(b"x" * 1025, b""), invalid, "key-too-long")
    same((detail.limit, detail.outcome), (1024, error_pb2.OUTCOME_NONE), "limit and outcome")
    fails(lambda: get(b"a", namespace="Bad Name"), invalid, "invalid-request")
    fails(lambda: get(b"a", namespace="none"), grpc.StatusCode.NOT_FOUND, "namespace-not-found")
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    detail = fails(lambda: put(b"py/big", b"v" * (MIB + 1)), exhausted, "value-too-large")
    same((detail.limit, detail.status), (MIB, 413), "limit and status")
    options = quorate_pb2.RequestOptions(r=quorate_pb2.Replicas(count=99))
    fails(lambda: get(b"a", options=options), invalid, "invalid-quorum")
    unknown = channel.unary_unary("/quorate.v1.KvService/Nope")
    fails(lambda: unknown(b"", timeout=LIMIT_S), grpc.StatusCode.UNIMPLEMENTED)
    unknown = channel.unary_unary("/no.Service/Nope")
    fails(lambda: unknown(b"", timeout=LIMIT_S), grpc.StatusCode.UNIMPLEMENTED)
    # The code that gRPC itself has for a message that is none.
    noise = lambda: channel.unary_unary("/quorate.v1.KvService/Get")(b"\xff" * 3, timeout=LIMIT_S)
    fails(noise, grpc.StatusCode.INTERNAL)


@check
def request_id_is_echoed_in_the_detail():
    metadata = (("quorate-request-id", "from-python"),)
    call = lambda: store.Get(
        quorate_pb2.GetRequest(key=b"py/none"), metadata=metadata, timeout=LIMIT_S
    )
    same(fails(call, grpc.StatusCode.NOT_FOUND, "key-not-found").request_id, "from-python", "id")


@check
def deadlines():
    put(b"py/deadline", b"1")
    for limit_s in (1, 120, 10_000):
        request = quorate_pb2.GetRequest(key=b"py/deadline")
        same(store.Get(request, timeout=limit_s).record.value, b"1")
    request = quorate_pb2.GetRequest(key=b"py/deadline")
    fails(lambda: store.Get(request, timeout=-1), grpc.StatusCode.DEADLINE_EXCEEDED)


@check
def many_at_once_on_one_channel():
    calls = [
        store.Put.future(quorate_pb2.PutRequest(key=b"py-many/%03d" % n, value=b"%d" % n), timeout=30)
        for n in range(500)
    ]
    versions = {(call.result().version.hlc, call.result().version.origin) for call in calls}
    same(len(versions), 500, "different versions")
    same(get(b"py-many/499").record.value, b"499")


@check
def namespaces():
    policy = quorate_pb2.NamespacePolicy(value_bytes_max=10)
    made = store.PutNamespace(
        quorate_pb2.PutNamespaceRequest(name="python", policy=policy), timeout=LIMIT_S
    )
    same(made.namespace.policy.value_bytes_max, 10, "limit")
    put(b"a", b"0123456789", namespace="python")
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    fails(lambda: put(b"a", b"0123456789a", namespace="python"), exhausted, "value-too-large")
    read = store.GetNamespace(quorate_pb2.GetNamespaceRequest(name="python"), timeout=LIMIT_S)
    same(read.namespace, made.namespace, "namespace")
    listed = store.ListNamespaces(quorate_pb2.ListNamespacesRequest(), timeout=LIMIT_S)
    names = [one.name for one in listed.namespaces]
    same("default" in names and "python" in names, True, f"names in {names}")
    for _ in range(2):
        store.DeleteNamespace(quorate_pb2.DeleteNamespaceRequest(name="python"), timeout=LIMIT_S)
    missing = grpc.StatusCode.NOT_FOUND
    fails(lambda: get(b"a", namespace="python"), missing, "namespace-not-found")


@check
def info():
    answer = store.Info(quorate_pb2.InfoRequest(), timeout=LIMIT_S)
    same((answer.node in NODES, answer.partitions, answer.epoch > 0), (True, 256, True), "node")
    same(answer.disk_total_bytes > answer.disk_free_bytes > 0, True, "disk figures")


@check
def original_service():
    original.Put(kv_pb2.PutRequest(key="py-hello", value="wörld"), timeout=LIMIT_S)
    read = original.Get(kv_pb2.GetRequest(key="py-hello"), timeout=LIMIT_S)
    same((read.value, read.found), ("wörld", True), "answer")
    same(get(b"py-hello").record.value, "wörld".encode())
    nodes = original.GetN(kv_pb2.GetNRequest(key="py-hello", n=3), timeout=LIMIT_S).nodes
    same(sorted(nodes), NODES, "nodes")
    health = original.Health(kv_pb2.HealthRequest(), timeout=LIMIT_S)
    same((health.node_name in NODES, health.key_count > 0), (True, True), "health")
    original.Delete(kv_pb2.DeleteRequest(key="py-hello"), timeout=LIMIT_S)
    missing = original.Get(kv_pb2.GetRequest(key="py-hello"), timeout=LIMIT_S)
    same((missing.value, missing.found), ("", False), "answer")
    put(b"py-binary", b"\xff\xfe")
    fails(
        lambda: original.Get(kv_pb2.GetRequest(key="py-binary"), timeout=LIMIT_S),
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    fails(
        lambda: original.Get(kv_pb2.GetRequest(key=""), timeout=LIMIT_S),
        grpc.StatusCode.INVALID_ARGUMENT,
        "invalid-key",
    )


@check
def health():
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "quorate.v1.KvService", "kv.KVStore"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=LIMIT_S)
        same(answer.status, serving, f"status of {service!r}")
    fails(
        lambda: stub.Check(health_pb2.HealthCheckRequest(service="no.Service"), timeout=LIMIT_S),
        grpc.StatusCode.NOT_FOUND,
    )
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
    same(next(watch).status, serving, "first status of Watch")
    watch.cancel()


@check
def reflection():
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    for name in ("quorate.v1.KvService", "kv.KVStore", "grpc.health.v1.Health"):
        same(name in services, True, f"{name} among {sorted(services)}")
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("quorate.v1.KvService").FindMethodByName("Get")
    same(method.input_type.full_name, "quorate.v1.GetRequest", "input type")


for run in CHECKS:
    name = run.__name__.replace("_", " ")
    try:
        run()
        print(f"ok {name}", flush=True)
    except Exception as error:  # The next check runs all the same.
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        where = [f.lineno for f in traceback.extract_tb(error.__traceback__) if "client.py" in f.filename]
        why = " ".join(str(error).split()) or type(error).__name__
        print(f"not ok {name}: {why[:600]} (client.py:{where[1] if len(where) > 1 else line})", flush=True)
print(f"done {len(CHECKS)}", flush=True)
