package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"

	"quorate/gen/kv"
	v1 "quorate/gen/quorate/v1"
)

var checks = []check{
	{"put, get and delete", putGetDelete},
	{"binary keys and values", binary},
	{"metadata and expiry", metaAndExpiry},
	{"list by prefix and pages", list},
	{"batch", batch},
	{"errors", errorsOf},
	{"request id is echoed", requestID},
	{"deadlines", deadlines},
	{"many at once on one connection", many},
	{"namespaces", namespaces},
	{"info", info},
	{"original service", original},
	{"health", healthOf},
	{"reflection", reflectionOf},
}

func putGetDelete(ctx context.Context, c *client) error {
	key := []byte("go/a")
	written, err := c.store.Put(ctx, &v1.PutRequest{Key: key, Value: []byte("one"), ContentType: "text/plain"})
	if err != nil {
		return err
	}
	read, err := c.store.Get(ctx, &v1.GetRequest{Key: key})
	if err != nil {
		return err
	}
	gone, err := c.store.Delete(ctx, &v1.DeleteRequest{Key: key})
	if err != nil {
		return err
	}
	_, err = c.get(ctx, "go/a")
	_, missing := fails(err, codes.NotFound, "key-not-found")
	_, again := c.store.Delete(ctx, &v1.DeleteRequest{Key: key})
	return first(
		same("durability", written.GetDurability(), v1.Durability_DURABILITY_FSYNC),
		same("replicas", int(written.GetAnswer().GetReplicas()), len(c.nodes)),
		same("a majority", int(written.GetAnswer().GetReplies()) > len(c.nodes)/2, true),
		same("node", slices.Contains(c.nodes, written.GetAnswer().GetNode()), true),
		same("value", string(read.GetRecord().GetValue()), "one"),
		same("content type", read.GetRecord().GetContentType(), "text/plain"),
		same("version", proto.Equal(read.GetRecord().GetVersion(), written.GetVersion()), true),
		same("newer", gone.GetVersion().GetHlc() > written.GetVersion().GetHlc(), true),
		missing,
		again,
	)
}

func binary(ctx context.Context, c *client) error {
	every := make([]byte, 256)
	for index := range every {
		every[index] = byte(index)
	}
	long := string(make([]byte, 1024))
	for _, key := range []string{string(every), "\x00", "\xff\xfe", "../x", "go//x", long} {
		if err := first(c.put(ctx, key, string(every)), c.holds(ctx, key, string(every))); err != nil {
			return err
		}
	}
	for _, value := range []string{"", string(make([]byte, mib))} {
		if err := first(c.put(ctx, "go/binary", value), c.holds(ctx, "go/binary", value)); err != nil {
			return err
		}
	}
	return nil
}

func metaAndExpiry(ctx context.Context, c *client) error {
	written, err := c.store.Put(ctx, &v1.PutRequest{
		Key:        []byte("go/meta"),
		Meta:       []*v1.MetaEntry{{Name: "owner", Value: "Ada L."}},
		TtlSeconds: proto.Uint32(3600),
	})
	if err != nil {
		return err
	}
	read, err := c.store.Get(ctx, &v1.GetRequest{Key: []byte("go/meta")})
	if err != nil {
		return err
	}
	meta := read.GetRecord().GetMeta()
	if len(meta) != 1 {
		return fmt.Errorf("meta is %v", meta)
	}
	return first(
		same("meta", meta[0].GetName()+"="+meta[0].GetValue(), "owner=Ada L."),
		same("expiry", read.GetRecord().GetExpiresAtMs(), written.GetExpiresAtMs()),
		same("has expiry", read.GetRecord().ExpiresAtMs != nil, true),
	)
}

func list(ctx context.Context, c *client) error {
	const count = 25
	name := func(number int) string { return fmt.Sprintf("go-list/%02d", number) }
	for number := range count {
		if err := c.put(ctx, name(number), "value of "+name(number)); err != nil {
			return err
		}
	}
	request := &v1.ListRequest{Prefix: []byte("go-list/"), Limit: 10, Values: true}
	seen := 0
	for pages := 0; pages < count; pages++ {
		page, err := c.store.List(ctx, request)
		if err != nil {
			return err
		}
		for _, item := range page.GetItems() {
			err := first(
				same("key", string(item.GetKey()), name(seen)),
				same("value", string(item.GetValue()), "value of "+name(seen)),
			)
			if err != nil {
				return err
			}
			seen++
		}
		request.Cursor = page.GetNext()
		if request.Cursor == "" {
			break
		}
	}
	back, err := c.store.List(ctx, &v1.ListRequest{Start: []byte(name(5)), End: []byte(name(8)), Reverse: true})
	if err != nil {
		return err
	}
	counted, err := c.store.Count(ctx, &v1.CountRequest{Prefix: []byte("go-list/")})
	if err != nil {
		return err
	}
	if len(back.GetItems()) != 3 {
		return fmt.Errorf("the range has %d items", len(back.GetItems()))
	}
	return first(
		same("items", seen, count),
		same("first of the range", string(back.GetItems()[0].GetKey()), name(7)),
		same("keys counted", counted.GetKeys(), count),
		same("bytes counted", counted.GetBytes(), 19*count),
		same("exact", counted.GetExact(), true),
	)
}

func batch(ctx context.Context, c *client) error {
	key := []byte("go/b")
	put := func(key, value []byte) *v1.BatchOperation {
		return &v1.BatchOperation{Operation: &v1.BatchOperation_Put{Put: &v1.BatchPut{Key: key, Value: value}}}
	}
	get := func(key []byte) *v1.BatchOperation {
		return &v1.BatchOperation{Operation: &v1.BatchOperation_Get{Get: &v1.BatchGet{Key: key}}}
	}
	gone := &v1.BatchOperation{Operation: &v1.BatchOperation_Delete{Delete: &v1.BatchDelete{Key: key}}}
	answer, err := c.store.Batch(ctx, &v1.BatchRequest{Operations: []*v1.BatchOperation{
		put(key, []byte("1")), get(key), put([]byte("go/big"), make([]byte, mib+1)), get(nil), gone, get(key),
	}})
	if err != nil {
		return err
	}
	results := answer.GetResults()
	if len(results) != 6 {
		return fmt.Errorf("there are %d results", len(results))
	}
	return first(
		same("put", results[0].GetPut() != nil, true),
		same("value", string(results[1].GetGet().GetRecord().GetValue()), "1"),
		same("slug", results[2].GetError().GetSlug(), "value-too-large"),
		same("outcome", results[2].GetError().GetOutcome(), v1.Outcome_OUTCOME_NONE),
		same("slug", results[3].GetError().GetSlug(), "invalid-key"),
		same("delete", results[4].GetDelete() != nil, true),
		same("record after the delete", results[5].GetGet() != nil && results[5].GetGet().GetRecord() == nil, true),
	)
}

func errorsOf(ctx context.Context, c *client) error {
	get := func(request *v1.GetRequest, code codes.Code, slug string) error {
		_, err := c.store.Get(ctx, request)
		_, wrong := fails(err, code, slug)
		return wrong
	}
	_, err := c.get(ctx, "go/none")
	missing, wrong := fails(err, codes.NotFound, "key-not-found")
	if wrong != nil {
		return wrong
	}
	long, wrong := fails(c.put(ctx, string(make([]byte, 1025)), ""), codes.InvalidArgument, "key-too-long")
	if wrong != nil {
		return wrong
	}
	large, wrong := fails(c.put(ctx, "go/big", string(make([]byte, mib+1))), codes.ResourceExhausted, "value-too-large")
	if wrong != nil {
		return wrong
	}
	options := &v1.RequestOptions{R: &v1.Replicas{Replicas: &v1.Replicas_Count{Count: 99}}}
	_, unknownMethod := fails(c.connection.Invoke(ctx, "/quorate.v1.KvService/Nope", &v1.InfoRequest{}, &v1.InfoResponse{}), codes.Unimplemented, "")
	_, unknownService := fails(c.connection.Invoke(ctx, "/no.Service/Nope", &v1.InfoRequest{}, &v1.InfoResponse{}), codes.Unimplemented, "")
	return first(
		same("status", missing.GetStatus(), 404),
		same("key", string(missing.GetKey()), "go/none"),
		same("namespace", missing.GetNamespace(), "default"),
		same("limit", long.GetLimit(), 1024),
		same("outcome", long.GetOutcome(), v1.Outcome_OUTCOME_NONE),
		same("limit", large.GetLimit(), mib),
		get(&v1.GetRequest{}, codes.InvalidArgument, "invalid-key"),
		get(&v1.GetRequest{Key: []byte("a"), Namespace: "Bad Name"}, codes.InvalidArgument, "invalid-request"),
		get(&v1.GetRequest{Key: []byte("a"), Namespace: "none"}, codes.NotFound, "namespace-not-found"),
		get(&v1.GetRequest{Key: []byte("a"), Options: options}, codes.InvalidArgument, "invalid-quorum"),
		unknownMethod,
		unknownService,
	)
}

func requestID(ctx context.Context, c *client) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "quorate-request-id", "from-go")
	_, err := c.get(ctx, "go/none")
	detail, wrong := fails(err, codes.NotFound, "key-not-found")
	return first(wrong, same("request id", detail.GetRequestId(), "from-go"))
}

func deadlines(ctx context.Context, c *client) error {
	if err := c.put(ctx, "go/deadline", "1"); err != nil {
		return err
	}
	for _, time := range []time.Duration{time.Second, 2 * time.Minute, 24 * time.Hour} {
		ctx, cancel := context.WithTimeout(context.Background(), time)
		err := c.holds(ctx, "go/deadline", "1")
		cancel()
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	_, err := c.get(ctx, "go/deadline")
	_, wrong := fails(err, codes.DeadlineExceeded, "")
	return wrong
}

func many(ctx context.Context, c *client) error {
	const count = 500
	wrong := make(chan error, count)
	var group sync.WaitGroup
	for number := range count {
		group.Add(1)
		go func() {
			defer group.Done()
			key := fmt.Sprintf("go-many/%03d", number)
			if err := first(c.put(ctx, key, key), c.holds(ctx, key, key)); err != nil {
				wrong <- err
			}
		}()
	}
	group.Wait()
	close(wrong)
	return <-wrong
}

func namespaces(ctx context.Context, c *client) error {
	made, err := c.store.PutNamespace(ctx, &v1.PutNamespaceRequest{
		Name:   "golang",
		Policy: &v1.NamespacePolicy{ValueBytesMax: proto.Uint32(10)},
	})
	if err != nil {
		return err
	}
	put := func(value string) error {
		_, err := c.store.Put(ctx, &v1.PutRequest{Namespace: "golang", Key: []byte("a"), Value: []byte(value)})
		return err
	}
	if err := put("0123456789"); err != nil {
		return err
	}
	_, large := fails(put("0123456789a"), codes.ResourceExhausted, "value-too-large")
	read, err := c.store.GetNamespace(ctx, &v1.GetNamespaceRequest{Name: "golang"})
	if err != nil {
		return err
	}
	listed, err := c.store.ListNamespaces(ctx, &v1.ListNamespacesRequest{})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := c.store.DeleteNamespace(ctx, &v1.DeleteNamespaceRequest{Name: "golang"}); err != nil {
			return err
		}
	}
	_, gone := fails(put("1"), codes.NotFound, "namespace-not-found")
	return first(
		large,
		same("limit", made.GetNamespace().GetPolicy().GetValueBytesMax(), 10),
		same("namespace read", proto.Equal(read.GetNamespace(), made.GetNamespace()), true),
		same("several listed", len(listed.GetNamespaces()) >= 2, true),
		gone,
	)
}

func info(ctx context.Context, c *client) error {
	answer, err := c.store.Info(ctx, &v1.InfoRequest{})
	return first(
		err,
		same("node", slices.Contains(c.nodes, answer.GetNode()), true),
		same("partitions", answer.GetPartitions(), 256),
		same("disk figures", answer.GetDiskTotalBytes() > answer.GetDiskFreeBytes(), true),
	)
}

func original(ctx context.Context, c *client) error {
	if _, err := c.original.Put(ctx, &kv.PutRequest{Key: "go-hello", Value: "wörld"}); err != nil {
		return err
	}
	read, err := c.original.Get(ctx, &kv.GetRequest{Key: "go-hello"})
	if err != nil {
		return err
	}
	nodes, err := c.original.GetN(ctx, &kv.GetNRequest{Key: "go-hello", N: 3})
	if err != nil {
		return err
	}
	said, err := c.original.Health(ctx, &kv.HealthRequest{})
	if err != nil {
		return err
	}
	if _, err := c.original.Delete(ctx, &kv.DeleteRequest{Key: "go-hello"}); err != nil {
		return err
	}
	missing, err := c.original.Get(ctx, &kv.GetRequest{Key: "go-hello"})
	if err != nil {
		return err
	}
	if err := c.put(ctx, "go-binary", "\xff\xfe"); err != nil {
		return err
	}
	_, err = c.original.Get(ctx, &kv.GetRequest{Key: "go-binary"})
	_, text := fails(err, codes.FailedPrecondition, "")
	return first(
		same("value", read.GetValue(), "wörld"),
		same("found", read.GetFound(), true),
		same("nodes", fmt.Sprint(slices.Sorted(slices.Values(nodes.GetNodes()))), fmt.Sprint(c.nodes)),
		same("node", slices.Contains(c.nodes, said.GetNodeName()), true),
		same("keys", said.GetKeyCount() > 0, true),
		same("found after the delete", missing.GetFound(), false),
		text,
	)
}

func healthOf(ctx context.Context, c *client) error {
	checker := health.NewHealthClient(c.connection)
	for _, service := range []string{"", "quorate.v1.KvService", "kv.KVStore"} {
		answer, err := checker.Check(ctx, &health.HealthCheckRequest{Service: service})
		wrong := same("status of "+service, answer.GetStatus(), health.HealthCheckResponse_SERVING)
		if err := first(err, wrong); err != nil {
			return err
		}
	}
	_, err := checker.Check(ctx, &health.HealthCheckRequest{Service: "no.Service"})
	if _, wrong := fails(err, codes.NotFound, ""); wrong != nil {
		return wrong
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch, err := checker.Watch(ctx, &health.HealthCheckRequest{})
	if err != nil {
		return err
	}
	answer, err := watch.Recv()
	return first(err, same("first status of Watch", answer.GetStatus(), health.HealthCheckResponse_SERVING))
}

func reflectionOf(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := reflection.NewServerReflectionClient(c.connection).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	ask := &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_ListServices{ListServices: "*"},
	}
	if err := stream.Send(ask); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	for _, service := range answer.GetListServicesResponse().GetService() {
		if service.GetName() == "quorate.v1.KvService" {
			return nil
		}
	}
	return fmt.Errorf("KvService is not among %v", answer)
}
