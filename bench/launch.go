package main

import (
	"context"
	"time"
)

// launchTarget is how long a person should wait for bramble --help at the most.
const launchTarget = 30 * time.Millisecond

// launch measures a whole process that only prints its help.
func (b *bench) launch(ctx context.Context, s *section) error {
	s.title = "Starting the program"
	s.how = "Whole processes, from fork to exit, output discarded."
	b.say("launch: bramble --help beside true")
	help := &contender{name: "bramble --help", run: process(b.exe, "--help")}
	bare := &contender{name: "true", run: process("true")}
	if err := warmUp(ctx, help, bare); err != nil {
		return err
	}
	if err := interleave(ctx, 10*b.runs, help, bare); err != nil {
		return err
	}
	s.add(row{what: "`bramble --help`", figure: help.figure(), peer: "`true`: " + duration(median(bare.took)),
		target: "< 30 ms", verdict: judge(median(help.took) < launchTarget)})
	return nil
}

// process times a program from fork to exit.
func process(name string, args ...string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		return timed(func() error { return command(ctx, nil, name, args...) })
	}
}
