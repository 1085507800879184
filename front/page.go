package front

import (
	"context"
	"errors"
	"net/http"

	"bramble/http1"
)

// pages are what a visitor gets when no member answers.
var pages = map[int][]byte{
	http.StatusServiceUnavailable: page("Nobody is at home", "All the servers behind this address are away at the moment. This page tries again by itself."),
	http.StatusBadGateway:         page("That went wrong", "The server behind this address did not give a proper answer. This page tries again by itself."),
	http.StatusGatewayTimeout:     page("This takes too long", "The server behind this address did not answer in time. This page tries again by itself."),
}

func page(title, text string) []byte {
	return []byte(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
		`<meta http-equiv="refresh" content="5"><title>` + title + `</title>` +
		`<style>:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1.5rem}h1{font-size:1.6rem}</style>` +
		`<h1>` + title + `</h1><p>` + text + "</p></html>\n")
}

// unavailable is the status and the page for what went wrong last; nil is that there was nobody to ask.
func unavailable(failure error) (int, []byte) {
	status := http.StatusBadGateway
	switch {
	case failure == nil, plain(failure), errors.Is(failure, http1.ErrConnect):
		status = http.StatusServiceUnavailable
	case errors.Is(failure, http1.ErrNoAnswer), errors.Is(failure, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	}
	return status, pages[status]
}
