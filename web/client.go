package web

import (
	"context"
	"encoding/json"
	"io"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
)

// Client asks a head about its dashboard.
type Client struct{ Conn *bus.Conn }

// Link returns a link that signs the asker in.
func (c Client) Link(ctx context.Context) (Link, error) {
	var link Link
	err := c.Conn.Call(ctx, "web.read.link", none{}, &link)
	return link, err
}

// Preview is an open preview of a site.
type Preview struct {
	URL string
	s   *bus.Stream
}

// Preview opens a preview, which lasts until Close, or until the connection is lost.
func (c Client) Preview(ctx context.Context, name string) (*Preview, error) {
	s, err := c.Conn.Open(ctx, "web.do.preview", previewing{name})
	if err != nil {
		return nil, err
	}
	p := &Preview{s: s}
	first, err := p.next()
	if err != nil {
		s.Close()
		return nil, err
	}
	p.URL = first.URL
	return p, nil
}

// Show shows an uploaded tree in place of the one before.
func (p *Preview) Show(ref artefact.Ref) (Shown, error) {
	if err := p.s.SendJSON(ref); err != nil {
		return Shown{}, err
	}
	return p.next()
}

// Over reports whether the preview is closed; Err then says why.
func (p *Preview) Over() bool { return p.s.Over() }

// Err waits until the preview is closed, and is why.
func (p *Preview) Err() error {
	for {
		if _, err := p.receive(); err != nil {
			return err
		}
	}
}

// Close ends the preview.
func (p *Preview) Close() { p.s.Close() }

func (p *Preview) receive() (data []byte, err error) {
	if data, err = p.s.Recv(); err == io.EOF {
		err = fault.New(fault.Unreachable, "the head has ended the preview").Hint("the same again")
	}
	return data, err
}

func (p *Preview) next() (shown Shown, err error) {
	data, err := p.receive()
	if err == nil {
		err = json.Unmarshal(data, &shown)
	}
	if err == nil && shown.Fault != nil {
		err = shown.Fault
	}
	return shown, err
}
