package front

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

const (
	soonest  = 5 * time.Second
	patient  = 2 * time.Minute // after the first refusal, twice as long after each next one: Let's Encrypt allows five in an hour
	longest  = time.Hour
	lookOver = time.Hour // how often certificates are looked over, for a board's clock may jump by years
)

// renewIn is how long a certificate is left alone from now, at most lookOver; 0 is that another one is wanted. It is renewed when a
// third of its time is left.
func renewIn(cert *tls.Certificate, now time.Time) time.Duration {
	if cert == nil {
		return 0
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	return min(max(cert.Leaf.NotAfter.Add(-life/3).Sub(now), 0), lookOver)
}

// rest is how long a new certificate is left alone whatever the clock says, lest a CA is asked without an end by a clock that is wrong.
func rest(cert *tls.Certificate) time.Duration {
	return min(max(cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)/3, time.Second), lookOver)
}

// retryIn is how long to wait after so many failures: soon where the CA was not even reached, else as long as it likes.
func retryIn(err error, failures int, soon time.Duration) time.Duration {
	doubled := min(failures-1, 16)
	problem, refused := errors.AsType[*acme.Error](err)
	_, unproved := errors.AsType[*acme.AuthorizationError](err)
	_, spoiled := errors.AsType[*acme.OrderError](err)
	if !refused && !unproved && !spoiled {
		return min(soon<<doubled, patient)
	}
	pause := min(patient<<doubled, longest)
	if refused {
		asked, _ := acme.RateLimit(problem)
		pause = max(pause, min(asked, 24*time.Hour))
	}
	return pause
}

// trial is how the attempts to get a name's certificate went since the last one was issued; the zero value: none was made.
type trial struct {
	Failures int       `json:"failures,omitempty"` // in a row
	Next     time.Time `json:"next,omitzero"`      // not before
	Why      string    `json:"why,omitempty"`      // the last one failed
}

// underWay is why there is no certificate while one is asked for, and after that when nobody was left to hear the answer.
const underWay = "it was asked for, and what became of that is not known yet"

// next is with an attempt that has begun, of which nobody may ever hear how it ended: then it is as if the CA had refused.
func (t trial) next(now time.Time) trial {
	t.Failures++
	t.Why = underWay
	t.Next = now.Add(min(patient<<min(t.Failures-1, 16), longest))
	return t
}

// pause is how long to wait with another attempt, whatever the clock says.
func (t trial) pause(now time.Time) time.Duration {
	if t.Failures == 0 {
		return 0
	}
	return min(max(t.Next.Sub(now), 0), 24*time.Hour)
}

// unfit is why there can be no certificate for a name by HTTP-01, "" where there can be one.
func unfit(host string) string {
	_, notAddress := netip.ParseAddr(host)
	switch {
	case strings.HasPrefix(host, "*."):
		return "it is a pattern, and the CA asks at names"
	case notAddress == nil:
		return "it is an address"
	case !strings.Contains(host, ".") || len(host) > 253:
		return "it is no name that everybody knows"
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "it is no name"
		}
		for _, c := range []byte(label) {
			if !letter(c) && c != '-' {
				return "a name has letters, digits and '-', and others in the form xn--…"
			}
		}
	}
	return ""
}
