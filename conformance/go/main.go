// A Go client, generated from proto/ with protoc-gen-go and protoc-gen-go-grpc: every operation, as
// grpc-go sees it.
//
// Usage: client HOST:PORT,... Requests go in turn to the nodes n1, n2 and so on at these addresses.
// Prints a line for each check ("ok name", "not ok name: why") and "done N" at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"quorate/gen/kv"
	quoratev1 "quorate/gen/quorate/v1"
)

const (
	limit = 10 * time.Second
	mib   = 1024 * 1024
)

type client struct {
	connection *grpc.ClientConn
	store      quoratev1.KvServiceClient
	original   kv.KVStoreClient
	// The names of the nodes, in order.
	nodes []string
}

type check struct {
	name string
	run  func(context.Context, *client) error
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client HOST:PORT,...")
		os.Exit(2)
	}
	nodes := manual.NewBuilderWithScheme("nodes")
	var state resolver.State
	var names []string
	for index, address := range strings.Split(os.Args[1], ",") {
		endpoint := resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}}
		state.Endpoints = append(state.Endpoints, endpoint)
		names = append(names, fmt.Sprintf("n%d", index+1))
	}
	nodes.InitialState(state)
	connection, err := grpc.NewClient(
		// The authority is what a node has to take for its own name.
		"nodes://localhost/all",
		grpc.WithResolvers(nodes),
		grpc.WithAuthority("localhost"),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8*mib)),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	all := &client{
		connection, quoratev1.NewKvServiceClient(connection), kv.NewKVStoreClient(connection), names,
	}
	for _, one := range checks {
		ctx, cancel := context.WithTimeout(context.Background(), 3*limit)
		err := one.run(ctx, all)
		cancel()
		if err == nil {
			fmt.Println("ok", one.name)
		} else {
			why := strings.Join(strings.Fields(err.Error()), " ")
			fmt.Printf("not ok %s: %.600s\n", one.name, why)
		}
	}
	fmt.Println("done", len(checks))
}

// same says what is wrong when two things differ.
func same[T comparable](what string, actual, expected T) error {
	if actual == expected {
		return nil
	}
	return fmt.Errorf("%s is %.200q, not %.200q", what, fmt.Sprint(actual), fmt.Sprint(expected))
}

// fails checks that a call failed with a code, and with an ErrorDetail of a slug unless that is "".
func fails(err error, code codes.Code, slug string) (*quoratev1.ErrorDetail, error) {
	if err == nil {
		return nil, errors.New("the call succeeded")
	}
	said := status.Convert(err)
	if said.Code() != code {
		return nil, fmt.Errorf("the code is %s (%s), not %s", said.Code(), said.Message(), code)
	}
	if slug == "" {
		return nil, nil
	}
	for _, one := range said.Details() {
		if detail, ok := one.(*quoratev1.ErrorDetail); ok {
			return detail, same("slug", detail.GetSlug(), slug)
		}
	}
	return nil, fmt.Errorf("no ErrorDetail among %v", said.Details())
}

// first answers the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) put(ctx context.Context, key, value string) error {
	_, err := c.store.Put(ctx, &quoratev1.PutRequest{Key: []byte(key), Value: []byte(value)})
	return err
}

func (c *client) get(ctx context.Context, key string) (string, error) {
	answer, err := c.store.Get(ctx, &quoratev1.GetRequest{Key: []byte(key)})
	return string(answer.GetRecord().GetValue()), err
}

// holds checks that a key has a value.
func (c *client) holds(ctx context.Context, key, value string) error {
	actual, err := c.get(ctx, key)
	return first(err, same("value", actual, value))
}
