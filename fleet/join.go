package fleet

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"bramble/event"
	"bramble/fault"
	"bramble/trust"
)

// maxJoin is the most bytes of a join request or answer.
const maxJoin = 64 << 10

// joinPatience is how long a joiner may take to say what it wants.
const joinPatience = 10 * time.Second

// JoinHandler answers /join, /renew and /revoked on the peer port, whose TLS is trust.JoinConfig: the one
// place where a machine without a certificate is heard.
func (s *Service) JoinHandler(ports Ports) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /join", func(w http.ResponseWriter, r *http.Request) {
		s.answerJoin(w, r, ports, func(ctx context.Context, req JoinRequest) ([]byte, trust.Identity, error) {
			token, err := trust.ParseToken(req.Token)
			if err != nil {
				return nil, trust.Identity{}, err
			}
			return s.Authority.Redeem(ctx, token, req.CSR, req.Name)
		})
	})
	mux.HandleFunc("POST /renew", func(w http.ResponseWriter, r *http.Request) {
		s.answerJoin(w, r, ports, func(ctx context.Context, req JoinRequest) ([]byte, trust.Identity, error) {
			if len(r.TLS.PeerCertificates) == 0 {
				return nil, trust.Identity{}, fault.New(fault.Denied, "only who has a certificate can renew it").Hint("join with a token")
			}
			return s.Authority.Renew(ctx, r.TLS.PeerCertificates[0], req.CSR)
		})
	})
	mux.HandleFunc("POST /revoked", s.revoked)
	return mux
}

func (s *Service) answerJoin(w http.ResponseWriter, r *http.Request, ports Ports,
	issue func(context.Context, JoinRequest) ([]byte, trust.Identity, error)) {
	remote, _, _ := net.SplitHostPort(r.RemoteAddr)
	if wait := s.joiners.wait(remote, s.Now()); wait > 0 {
		writeFault(w, fault.New(fault.Denied, "refused too often; %s has to wait", remote).
			Hint("again in %s, with a token of this head: bramble token create", wait.Round(time.Second)))
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(joinPatience))
	var req JoinRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJoin))
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	if err != nil {
		writeFault(w, fault.New(fault.Misused, "unreadable request: %w", err))
		return
	}
	cert, id, err := issue(r.Context(), req)
	if err != nil {
		if fault.Is(err, fault.Denied) || fault.Is(err, fault.Misused) {
			s.joiners.refuse(remote, s.Now())
		}
		refused := event.Event{Kind: event.Audit, Room: "fleet", Bad: true, Text: "refused " + remote + ": " + err.Error()}
		if trust.ValidName(req.Name) == nil {
			refused.Node = req.Name
		}
		s.Events.Record(refused)
		writeFault(w, err)
		return
	}
	s.admit(id.Name)
	s.Events.Record(event.Event{Kind: event.Audit, Room: "fleet", Node: id.Name, Text: r.URL.Path[1:] + " of " + id.String() + " from " + remote})
	ca := s.Authority.CA()
	json.NewEncoder(w).Encode(JoinAnswer{Cluster: ca.Cluster(), ID: id, Cert: cert,
		CA: trust.EncodeCertificates(ca.Cert()), Ports: ports, Time: s.Now().UTC()})
}

func writeFault(w http.ResponseWriter, err error) {
	f := fault.Of(err)
	status := http.StatusInternalServerError
	switch f.Code {
	case fault.Denied:
		status = http.StatusForbidden
	case fault.Misused:
		status = http.StatusBadRequest
	case fault.Conflict:
		status = http.StatusConflict
	case fault.Unreachable:
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(f)
}

// Join asks the head at addr (HOST or HOST:PORT) for membership, for the key behind csr. The head
// has to prove that it is the token's before it is told anything.
func Join(ctx context.Context, addr string, token trust.Token, req JoinRequest, now func() time.Time) (JoinAnswer, error) {
	addr = WithPort(addr, PeerPort)
	req.Token = token.String()
	return post[JoinAnswer](ctx, addr, "/join", trust.PinnedConfig(token.CA, now), req)
}

// Renew asks for a new certificate in place of cred's, run out or not.
func Renew(ctx context.Context, addr string, cred *trust.Credential, now func() time.Time) (JoinAnswer, error) {
	csr, err := cred.Request()
	if err != nil {
		return JoinAnswer{}, err
	}
	verify := trust.NewVerifier(cred.CA(), now).Verify
	return post[JoinAnswer](ctx, WithPort(addr, PeerPort), "/renew", trust.ClientConfig(cred, verify, now), JoinRequest{CSR: csr})
}

func post[T any](ctx context.Context, addr, path string, conf *tls.Config, req any) (answer T, err error) {
	data, err := json.Marshal(req)
	if err != nil {
		return answer, err
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	r, err := http.NewRequestWithContext(ctx, "POST", "https://"+addr+path, bytes.NewReader(data))
	if err != nil {
		return answer, fault.New(fault.Misused, "%q is not an address: %w", addr, err).Hint("bramble join HOST --token TOKEN")
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer, unreached(addr, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJoin))
	if err != nil {
		return answer, unreached(addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		var f fault.Error
		if json.Unmarshal(body, &f) != nil || f.Text == "" {
			return answer, fault.New(fault.Failed, "the head at %s answered %s", addr, resp.Status)
		}
		return answer, &f
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fault.New(fault.Failed, "unreadable answer from %s: %w", addr, err)
	}
	return answer, nil
}

// unreached is what a person is told when the head could not be asked; what TLS refused stays as it was said.
func unreached(addr string, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the address is said already
	}
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Interrupted, "stopped while asking %s", addr)
	}
	return fault.New(fault.Unreachable, "no head answers at %s: %w", addr, err).
		Hint("check the address and that `bramble up` runs there; its port %d must be open", PeerPort)
}

// WithPort adds a port to an address that has none.
func WithPort(addr string, port int) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(trimBrackets(addr), strconv.Itoa(port))
}

func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
