package keeper

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/host"
)

var update = flag.Bool("update", false, "write the golden files of the current protocol")

// frames are one of each that the two sides say that is new in a protocol.
func frames(protocol int) []any {
	switch protocol {
	case 2:
		return []any{&request{Number: 1, Do: "start", Tasks: []Task{{ID: "7.4.1", Args: []string{"true"}, Stdio: "/x", TTY: &host.Size{Rows: 24, Cols: 80}}}}}
	case 3:
		return []any{
			&request{Number: 1, Do: "start", Tasks: []Task{{ID: "7.4.1", Args: []string{"true"}, Lanes: 4}}},
			&request{Number: 2, Do: "withdraw", IDs: []string{"7.4.1"}},
			&answer{Number: 3, Statuses: []Status{{ID: "7.4.1", Running: true, Waiting: true}}},
		}
	case 4:
		return []any{&request{Number: 1, Do: "limit", IDs: []string{"7.3.1", "7.4.1"}, Timeout: time.Minute}}
	case 5:
		return []any{&request{Number: 1, Do: "start", Tasks: []Task{{ID: "7.4.1", Args: []string{"true"}, Copy: &Copy{Out: "/s/o", Err: "/s/e", Below: "/s", Append: true}}}}}
	}

	at := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	task := Task{
		ID: "7.3.1", Args: []string{"echo", "ä\n<>"}, Env: []string{"A=B"}, Dir: "/tmp", User: "pi",
		Limits: host.Limits{CPUs: 1.5, Memory: 1 << 20, PIDs: 9}, Timeout: time.Minute, Grace: time.Second, Cap: 77,
	}
	ended := Status{
		ID: "7.3.1", Pid: 42, Started: at, Ended: at.Add(time.Second), Error: Stopped, TimedOut: true, Stdout: 2, Stderr: 1, Dropped: 3,
		Exit:     &host.Exit{Code: -1, Signal: "SIGTERM", OOM: true, Wall: 1, User: 2, System: 3, MaxRSS: 4},
		SmallOut: []byte{0, 0xff}, SmallErr: []byte("e"),
	}
	return []any{
		&hello{Protocol: 1, Pid: 41},
		&request{Number: 1, Do: "start", Tasks: []Task{task}},
		&request{Number: 2, Do: "signal", ID: "7.3.1", Signal: "TERM"},
		&request{Number: 3, Do: "list"},
		&request{Number: 4, Do: "ended"},
		&request{Number: 5, Do: "forget", IDs: []string{"7.3.1", "7.4.1"}},
		&request{Number: 6, Do: "output", ID: "7.3.1", Stream: "stderr", Offset: 10, Max: 20},
		&answer{Number: 1},
		&answer{Number: 2, Error: fault.New(fault.NotFound, "no such task").Hint("look elsewhere")},
		&answer{Number: 4, More: true, Statuses: []Status{ended, {ID: "8.0.1", Running: true, Started: at}}},
	}
}

// What a protocol says must stay readable for as long as a keeper of that time may live.
func TestGoldenWire(t *testing.T) {
	for protocol := 1; protocol <= Protocol; protocol++ {
		golden := filepath.Join("testdata", fmt.Sprintf("protocol%d.bin", protocol))
		var now []byte
		for _, f := range frames(protocol) {
			b, err := encode(f, []byte("tail"))
			if err != nil {
				t.Fatal(err)
			}
			now = append(now, b...)
		}
		if *update && protocol == Protocol {
			if err := os.WriteFile(golden, now, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		then, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		reads(t, then, frames(protocol))
		if protocol == Protocol && !bytes.Equal(now, then) {
			t.Error("the frames changed: raise Protocol, and keep the old file")
		}
	}
}

// reads checks that the bytes are these frames.
func reads(t *testing.T, then []byte, frames []any) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(then))
	for _, want := range frames {
		got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
		tail, err := decode(r, got)
		if err != nil || string(tail) != "tail" {
			t.Fatalf("%q, %v", tail, err)
		}
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		if !bytes.Equal(g, w) {
			t.Errorf("reads as %s, was %s", g, w)
		}
	}
	if _, err := decode(r, &hello{}); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last frame: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	for name, data := range map[string]string{
		"larger than MaxFrame":   "\x00\x80\x00\x01\x00\x00\x00\x02{}",
		"head larger than frame": "\x00\x00\x00\x06\x00\x00\x00\x07{}",
		"too small":              "\x00\x00\x00\x03\x00\x00\x00\x00",
		"cut":                    "\x00\x00\x00\x10\x00\x00\x00\x02{}",
		"no JSON":                "\x00\x00\x00\x06\x00\x00\x00\x02{x",
		"text":                   "GET / HTTP/1.1\r\n\r\n",
	} {
		if _, err := decode(bufio.NewReader(strings.NewReader(data)), &request{}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	huge := request{Do: "start", Tasks: []Task{{ID: "1", Args: []string{strings.Repeat("x", 10<<20)}}}}
	if _, err := encode(huge, nil); !fault.Is(err, fault.Full) {
		t.Errorf("10 MB of arguments: %v", err)
	}
}

// A newer agent says more than this keeper knows; it is answered all the same, and out of order.
func TestNewerAgent(t *testing.T) {
	spool := t.TempDir()
	local, err := Open(Options{Spool: spool, Host: host.NewReal(host.RealOptions{StateDir: spool})})
	if err != nil {
		t.Fatal(err)
	}
	defer local.close()
	socket := filepath.Join(spool, "sock")
	listener, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	go serve(t.Context(), local, listener)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, text := range []string{
		`{"protocol":9,"pid":1,"colour":"red"}`,
		`{"n":1,"do":"ended","since":"yesterday"}`,
		`{"n":2,"do":"levitate","height":3}`,
		`{"n":3,"do":"list","verbose":true}`,
		`{"n":4,"do":"start","tasks":[{"id":"../1","args":["true"],"colour":"red"}]}`,
	} {
		b, _ := encode(json.RawMessage(text), nil)
		conn.Write(b)
	}
	r := bufio.NewReader(conn)
	var peer hello
	if _, err := decode(r, &peer); err != nil || peer.Protocol != Protocol || peer.Pid != os.Getpid() {
		t.Fatalf("%+v, %v", peer, err)
	}
	want := map[uint64]bool{2: true, 3: false, 4: true}
	for range want {
		var a answer
		if _, err := decode(r, &a); err != nil {
			t.Fatal(err)
		}
		if failed, asked := want[a.Number]; !asked || failed != (a.Error != nil) || failed && a.Error.Code != fault.Misused {
			t.Errorf("%+v", a)
		}
	}
}
