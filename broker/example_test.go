package broker_test

import (
	"context"
	"fmt"
	"net"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// A broker inside another program.
func Example() {
	b, err := broker.New(broker.Options{Store: mem.New()})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- b.Serve(ln) }()
	// Clients connect to ln.Addr() now.
	fmt.Println(b.Close(context.Background()), <-served)
	// Output: <nil> broker: closed
}
