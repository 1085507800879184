package job

import (
	"context"
	"crypto/tls"
	"strconv"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/trust"
)

// A rank of a step gets a short-lived certificate, by which ranks of that step know each other over mutual TLS. The
// node answers for it that such a rank runs there, the head that the node has a share of the attempt.

const doCertify = "certify" // Value is a certificate request (PEM)

// certRequest is what a node asks the head for a rank that runs there.
type certRequest struct {
	Key     Key    `json:"key"`
	Step    string `json:"step"`
	Rank    int    `json:"rank"`
	Request []byte `json:"request"` // PEM
}

// certAnswer is what the rank is told.
type certAnswer struct {
	Cert []byte    `json:"cert"` // PEM, as is CA
	CA   []byte    `json:"ca"`
	Time time.Time `json:"time"` // the head's, for boards without a clock
}

// RankIssuer signs the certificates of ranks; *trust.CA does.
type RankIssuer interface {
	IssueRank(r trust.Rank, csr []byte) (cert, ca []byte, err error)
}

// certify answers a node for one of its ranks.
func (s *Service) certify(ctx context.Context, who bus.Caller, req certRequest) (a certAnswer, err error) {
	if _, err := s.shares(ctx, who.Name, req.Key); err != nil {
		return a, err
	}
	a.Time = s.Now()
	a.Cert, a.CA, err = s.Ranks.IssueRank(trust.Rank{Attempt: req.Key.String(), Step: req.Step, Rank: req.Rank}, req.Request)
	return a, err
}

// certify has the head sign for a rank that runs here.
func (n *Node) certify(ctx context.Context, al *allocation, from string, req StepRequest) (a certAnswer, err error) {
	if from != n.Conn.Who().Name || !n.runsRank(al, req.Rank) {
		return a, fault.New(fault.Denied, "no rank %d of step %s runs on %s", req.Rank.Rank, strconv.Quote(req.Rank.Step), n.Conn.Who().Name)
	}
	ctx, cancel := context.WithTimeout(ctx, headWithin)
	defer cancel()
	ask := certRequest{Key: al.Key, Step: req.Rank.Step, Rank: req.Rank.Rank, Request: req.Value}
	return a, n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, "certify"), ask, &a)
}

// runsRank reports whether a process runs here that was started as this rank.
func (n *Node) runsRank(al *allocation, r Rank) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range al.steps {
		if s.rank.Step != "" && s.rank.Step == r.Step && s.rank.Rank == r.Rank {
			return true
		}
	}
	return false
}

// Certify gives a rank what it proves itself with to others of its step, for trust.RankValidity. now is the cluster's
// time, which this machine's own may lag behind.
func (in Inside) Certify(ctx context.Context, r Rank) (cred *trust.RankCredential, now func() time.Time, err error) {
	key, err := trust.NewKey()
	if err != nil {
		return nil, nil, err
	}
	csr, err := trust.NewRequest(key)
	if err != nil {
		return nil, nil, err
	}
	var a certAnswer
	if err := in.call(ctx, StepRequest{Do: doCertify, StepCommand: StepCommand{Rank: r}, Meet: Meet{Value: csr}}, &a); err != nil {
		return nil, nil, err
	}
	told := time.Now()
	now = func() time.Time {
		if by := a.Time.Add(time.Since(told)); by.After(time.Now()) {
			return by
		}
		return time.Now()
	}
	cred, err = trust.NewRankCredential(key, a.Cert, a.CA)
	return cred, now, err
}

// TLS is the configuration of both ends of a connection between ranks of a step: each end knows the other for a rank
// of it, which trust.RankPeer names. Certificates are renewed as connections are made.
func (in Inside) TLS(ctx context.Context, r Rank) (*tls.Config, error) {
	cred, now, err := in.Certify(ctx, r)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	current := func() (*trust.RankCredential, error) {
		mu.Lock()
		defer mu.Unlock()
		if cred.RenewDue(now()) {
			fresh, then, err := in.Certify(ctx, r)
			if err == nil {
				cred, now = fresh, then
			} else if now().After(cred.Cert.NotAfter) {
				return nil, err
			}
		}
		return cred, nil
	}
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now()
	}
	return trust.RankConfig(current, clock), nil
}
