package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"bramble/bus/bare"
)

// answerVerb starts this program as nodes that answer a bare engine: ADDRESS NODES.
const answerVerb = "answer"

// What a silent command and its answer look like on the bus, near enough.
var (
	bareQuestion = []byte(`{"user":"ann","args":["true"],"together":true}`)
	bareAnswer   = []byte(`l{"exit":{}}`)
)

// answer is the nodes of a bare engine until ctx ends.
func answer(ctx context.Context, address, nodes string) error {
	n, err := strconv.Atoi(nodes)
	if err != nil {
		return err
	}
	return bare.Answer(ctx, address, n, bareAnswer, func() { fmt.Println("all answer") })
}

// bareEngine is how long many nodes take to answer when there is nothing but the engine.
func (b *bench) bareEngine(ctx context.Context, nodes int) ([]time.Duration, error) {
	server, err := bare.Start(nodes)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c, err := b.start(nil, self, answerVerb, server.Address(), strconv.Itoa(nodes))
	if err != nil {
		return nil, err
	}
	defer c.stop()
	if err := c.await(ctx, "all answer"); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, commandsLimit)
	defer cancel()
	took := make([]time.Duration, 0, b.commands)
	for i := range b.commands + 1 { // the first does not count
		d, err := server.Ask(short, bareQuestion)
		if short.Err() != nil && len(took) > 0 {
			return took, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if i > 0 {
			took = append(took, d)
		}
	}
	return took, nil
}
