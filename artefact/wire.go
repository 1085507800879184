package artefact

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"bramble/fault"
)

// The wire, in full:
//
//	GET  /artefact/REF      the blob; Range as HTTP has it. With Bramble-Verify: yes it is read and verified first.
//	                        With Bramble-Pack: zstd beside the next, and in the answer, it comes as a packer writes it.
//	                        With Bramble-Follow: N it may still be arriving, or begin to within N seconds: it is sent as it comes.
//	                        With Bramble-Near: ask, the head's answer says under that name who asked before, as Introduce has it.
//	                        With Bramble-Courtesy: yes it yields to what visitors of sites there are sent.
//	GET  /artefact/REF/chunks  how the blob is cut, as Recipe.encode writes it
//	HEAD /artefact/REF      200 when the blob is here; else 404, and Bramble-Have says how much of an unfinished upload is
//	PUT  /artefact/REF      the bytes from Bramble-Offset to the blob's end, which must follow what is here
//	POST /artefact/REF/chunks  how a blob is cut: the length of the recipe as a uvarint, and it; the answer is an offer as JSON
//	PUT  /artefact/REF/chunks  the same; then, as uvarints, runs of the chunks that are not sent and of those that are, in turns,
//	                        as many as there are; then those chunks' bytes, as a packer writes them
//	POST /artefact/batch    a JSON list of at most 128 refs of small blobs, with Bramble-Follow: N. The answer, as a packer writes it, has for
//	                        each in turn the length of the blob and one as a uvarint, and the blob; or 0, which leaves it to a GET
//	POST /artefact/missing  a JSON list of at most MaxMissing refs; the answer lists those that are not here
//
// A PUT that breaks leaves what arrived. One that ends is verified: 201, or 422 and the bytes are thrown away.
// 409 says that Bramble-Offset is not Bramble-Have, or that a chunk that was here is not any more; 429 that all transfers are taken, with Retry-After.
// Refusals carry a fault.Error as JSON.
const (
	headerHave     = "Bramble-Have"
	headerOffset   = "Bramble-Offset"
	headerVerify   = "Bramble-Verify"
	headerFollow   = "Bramble-Follow"
	headerPack     = "Bramble-Pack"
	headerCourtesy = "Bramble-Courtesy"
	prefix         = "/artefact/"
	batchName      = "batch"
)

// MaxMissing is how many refs one question may name.
const MaxMissing = 10_000

// maxAnswer is the longest JSON body that either side reads: MaxMissing refs in quotes, and some.
const maxAnswer = MaxMissing*70 + 1024

// statusOf is the HTTP status of a refusal.
func statusOf(err error) int {
	if errors.Is(err, ErrMismatch) {
		return http.StatusUnprocessableEntity
	}
	switch fault.Of(err).Code {
	case fault.Misused:
		return http.StatusBadRequest
	case fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Full:
		return http.StatusInsufficientStorage
	case fault.Unreachable:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// codeOf is what a status means when no fault came with it.
func codeOf(status int) fault.Code {
	switch status {
	case http.StatusBadRequest, http.StatusLengthRequired, http.StatusRequestEntityTooLarge, http.StatusMethodNotAllowed:
		return fault.Misused
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.Denied
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusConflict:
		return fault.Conflict
	case http.StatusInsufficientStorage:
		return fault.Full
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fault.Unreachable
	}
	return fault.Failed
}

// refuse answers with err.
func refuse(w http.ResponseWriter, status int, err error) { answer(w, status, fault.Of(err)) }

func answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	w.Write(data)
}
