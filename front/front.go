// Package front stands before other web servers and spreads what visitors ask over them: a load balancer.
//
// A request without a body goes through http1's loop, which never waits; whatever is more than that goes through net/http.
// Both ways ask the same group of members whose turn it is, and tell it what became of the request.
package front

import (
	"net/netip"
	"time"
)

// Spec is what a front does.
type Spec struct {
	Pools   []Pool         `json:"pools"`
	Trusted []netip.Prefix `json:"trusted,omitempty"` // proxies before this one, whose word on where a request came from is passed on
	Manager Manager        `json:"manager,omitzero"`
	Rate    Rate           `json:"rate"`
	Secure  int            `json:"secure,omitempty"` // the port that requests without TLS are sent to; 0: they are answered
}

// Pool is who answers for a host and the paths below one.
type Pool struct {
	Host    string        `json:"host,omitempty"` // lower case, without a port; "": any that no other pool names
	Path    string        `json:"path,omitempty"` // a prefix that ends where a path's segment does; "": all
	Balance Balance       `json:"balance,omitempty"`
	Sticky  string        `json:"sticky,omitempty"` // the cookie, or parameter of a target, that names a member's route; "": none
	Check   Check         `json:"check"`
	Slow    time.Duration `json:"slow,omitempty"`     // how long a member that comes back takes until it has its whole share
	FailOn  []int         `json:"fail_on,omitempty"`  // statuses that count as failures of a member
	Wait    time.Duration `json:"wait,omitempty"`     // for an answer's head, and for each next piece of it; 0: 60 s
	MaxBody int64         `json:"max_body,omitempty"` // bytes of a request's body; 0: any, for they go on as they come and nothing of them is kept here
	Members []Member      `json:"members"`
}

// Balance is how a pool chooses, in the words of Apache's mod_proxy_balancer where it has one.
type Balance string

const (
	TwoChoices Balance = "two-choices" // of two at random the one that is less busy; the default
	ByRequests Balance = "byrequests"  // in turns
	ByTraffic  Balance = "bytraffic"   // who has sent the fewest bytes
	ByBusyness Balance = "bybusyness"  // who has the fewest requests under way
	Heartbeat  Balance = "heartbeat"   // as two-choices, with weights by how much of their processors is idle, as a cluster's nodes report
)

// Balances are all of them.
var Balances = []Balance{TwoChoices, ByRequests, ByTraffic, ByBusyness, Heartbeat}

// Member is one server behind a front.
type Member struct {
	Name    string         `json:"name"`
	Address netip.AddrPort `json:"address"`          // of plain HTTP
	Second  bool           `json:"second,omitempty"` // it speaks HTTP/2 there, from the first byte on, and nothing else
	Weight  int            `json:"weight,omitempty"`
	Set     int            `json:"set,omitempty"`   // one is asked only when nobody of a lower set can be
	Route   string         `json:"route,omitempty"` // how sticky cookies name it
	Duty    Duty           `json:"duty,omitempty"`
	Mode    Mode           `json:"mode,omitempty"`
}

const (
	// MaxWeight is the greatest weight of a member; 1 is the smallest, and what 0 means.
	MaxWeight = 100
	// MaxMembers is how many members a pool may have.
	MaxMembers = 1000
)

// Duty is when a member is asked at all.
type Duty string

const (
	Regular Duty = ""
	Spare   Duty = "spare"   // one is asked in the place of each regular member of its set that cannot be
	Standby Duty = "standby" // when nobody else of its set can be
)

// Mode is what people want of a member.
type Mode string

const (
	Enabled  Mode = ""
	Draining Mode = "drain"    // only visitors whose cookie names it, and what is under way
	Disabled Mode = "disabled" // only what is under way
	Stopped  Mode = "stopped"  // nothing; what is under way is broken off
)

// Check is how a front finds out whether a member is well.
type Check struct {
	Path     string        `json:"path,omitempty"`     // asked for by GET, and answered by 200 to 399; "": a connection is enough
	Host     string        `json:"host,omitempty"`     // Host of that; "": the member's address
	Interval time.Duration `json:"interval,omitempty"` // 0: 250 ms; below 0: no checks
	Timeout  time.Duration `json:"timeout,omitempty"`  // 0: 750 ms
	Rise     int           `json:"rise,omitempty"`     // checks in a row that bring a member back; 0: 2
	Fall     int           `json:"fall,omitempty"`     // failures in a row that take it out; 0: 1 for checks, 3 for requests
}

// filled is the check with defaults for zeros.
func (c Check) filled() Check {
	if c.Interval == 0 {
		c.Interval = 250 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 750 * time.Millisecond
	}
	if c.Rise <= 0 {
		c.Rise = 2
	}
	return c
}

// active reports whether there are checks.
func (c Check) active() bool { return c.Interval >= 0 }

// Standing is how a member does.
type Standing struct {
	Member
	Health   Health        `json:"health"`
	Share    float64       `json:"share"`    // of new requests that it may get now, 0 to 1, by weight alone
	Busy     int64         `json:"busy"`     // requests under way
	Requests int64         `json:"requests"` // that it was asked
	Failures int64         `json:"failures"` // of them
	Bytes    int64         `json:"bytes"`    // of bodies that it sent
	Latency  time.Duration `json:"latency"`  // from asking to the answer's head, the average of about the last 20
}

// PoolStanding is how a pool's members do.
type PoolStanding struct {
	Host    string     `json:"host,omitempty"`
	Path    string     `json:"path,omitempty"`
	Members []Standing `json:"members"`
}
