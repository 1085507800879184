// Package bus is the only room that knows NATS: the embedded server, who may say
// what on it, requests, flow-controlled streams, key-value buckets and the journal.
//
// Every subject names its speaker, and the server enforces it:
//
//	ROOM.CLASS.VERB.USER.ROLE   a client asks the head; CLASS is read, do or admin
//	ROOM.node.NAME.VERB         the head asks a node; nobody else may publish it
//	ROOM.from.NAME.VERB         a node reports, or asks the head something about itself
//	_S.TO.CONN.FROM             a frame of a stream, from identity FROM to connection CONN of identity TO
//	_INBOX.WHO.…                answers to WHO, of a node in a lane of its own: _INBOX.head.CONN.node-NAME.N
package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bramble/fault"
	"bramble/term"
	"bramble/trust"
)

// Protocol is the number that agents and clients announce; a head serves its own and the one before.
const Protocol = 1

// MaxMessage is the most bytes a single message may carry; larger things are artefacts or streams.
const MaxMessage = 1 << 20

// Caller is who sent a request, as the server vouches for it.
type Caller struct {
	Kind trust.Kind
	Name string     // user or node
	Role trust.Role // clients only
}

func (c Caller) String() string {
	if c.Kind == trust.KindClient {
		return c.Name + " (" + string(c.Role) + ")"
	}
	return string(c.Kind) + " " + c.Name
}

// key is the subject token of an identity; all connections of one user in one role share it.
func (c Caller) key() string {
	switch c.Kind {
	case trust.KindHead:
		return "head"
	case trust.KindNode:
		return "node-" + c.Name
	}
	return "client-" + c.Name + "-" + string(c.Role)
}

func callerOf(id trust.Identity) Caller { return Caller{Kind: id.Kind, Name: id.Name, Role: id.Role} }

// callerFrom reads who speaks from a subject that the server has let through.
func callerFrom(subject string) Caller {
	part, n := cut(subject)
	switch {
	case n == 5 && (part[1] == "read" || part[1] == "do" || part[1] == "admin"):
		return Caller{Kind: trust.KindClient, Name: part[3], Role: trust.Role(part[4])}
	case n >= 4 && part[1] == "from":
		return Caller{Kind: trust.KindNode, Name: part[2]}
	}
	return Caller{Kind: trust.KindHead, Name: "head"}
}

// maxParts are the most parts of a subject that mean anything here.
const maxParts = 5

// cut takes a subject apart at its dots and tells how many parts it has; one beyond maxParts is counted and not given.
func cut(subject string) (part [maxParts]string, n int) {
	for text := range strings.SplitSeq(subject, ".") {
		if n < maxParts {
			part[n] = text
		}
		n++
	}
	return part, n
}

// Node is the subject on which the head asks a node.
func Node(room, name, verb string) string { return room + ".node." + name + "." + verb }

// From is the subject on which a node reports; name "*" is every node, for the head's subscriptions.
func From(room, name, verb string) string { return room + ".from." + name + "." + verb }

// Message is one published message.
type Message struct {
	Subject string
	Caller  Caller
	Data    []byte
}

// Decode reads the message's JSON into v.
func (m Message) Decode(v any) error { return decode(m.Data, v) }

func encode(v any) ([]byte, error) {
	if raw, ok := v.([]byte); ok {
		return raw, nil
	}
	if v == nil {
		return nil, nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(data) > MaxMessage {
		return nil, fault.New(fault.Full, "a message is %[2]s over the limit of %[1]s", term.Bytes(MaxMessage), term.Bytes(int64(len(data)-MaxMessage))).
			Hint("send large data as files: bramble push, or --transfer")
	}
	return data, nil
}

func decode(data []byte, v any) error {
	if v == nil {
		return nil
	}
	if raw, ok := v.(*[]byte); ok {
		*raw = append((*raw)[:0], data...)
		return nil
	}
	if len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fault.New(fault.Misused, "unreadable message: %w", err)
	}
	return nil
}

// Stream limits.
const (
	// Window is how many bytes one side may send before the other has taken them.
	Window = 128 << 10
	// MaxFrame is the most bytes of one stream message.
	MaxFrame = 64 << 10
	// KeepAlive is how often a quiet side says that it is there.
	KeepAlive = 5 * time.Second
	// Lost is how long a silent peer is waited for.
	Lost = 20 * time.Second
	// Settle is how long a stream's opener waits for somebody to listen.
	Settle = time.Second
	// MaxStreams is how many streams one user in one role, or one node, may have open at a time.
	MaxStreams = 512
)
