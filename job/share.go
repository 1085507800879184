package job

import (
	"cmp"
	"math"
	"time"

	"bramble/sorts"
)

const (
	// halfLife is how long until past use counts half.
	halfLife = 24 * time.Hour
	// shareWorth is how much later than it came a job is served whose owner has used all that was used lately.
	shareWorth = 24 * time.Hour
	// shareEvery is the least time between two looks at who has used how much.
	shareEvery = time.Second
)

// group is one user's work under one account, and what it has used.
type group struct {
	account, user string
	used          float64 // core-seconds, older ones worth less
	cpus          int     // in use since at
	at            time.Time
	behind        time.Duration // how much later than they came its jobs are served
}

// groupOf is who a job's use counts for.
func (s *State) groupOf(spec *Spec) *group {
	key := [2]string{cmp.Or(spec.Account, "default"), spec.User}
	g := s.groups[key]
	if g == nil {
		g = &group{account: key[0], user: key[1], at: s.now}
		s.groups[key] = g
		s.ranks = append(s.ranks, g)
		s.shared = time.Time{}
	}
	return g
}

// advance counts what was used until now.
func (g *group) advance(now time.Time) {
	if dt := now.Sub(g.at); dt > 0 {
		g.used = g.used*decay(dt) + float64(g.cpus)*dt.Seconds()
		g.at = now
	}
}

func (g *group) take(cpus int, now time.Time) {
	g.advance(now)
	g.cpus += cpus
}

func decay(age time.Duration) float64 { return math.Exp2(-float64(age) / float64(halfLife)) }

// share says anew how far behind each group is, once in a while. It is Slurm's classic fair-share factor
// F = 2^(-U/S), where S is the group's share and U what it has used of all, with its account's use
// counted in for its part: U = own + (account - own) * own share within the account. All accounts have
// the same share, and so have all users of one.
func (s *State) share() {
	if !s.shared.IsZero() && s.now.Sub(s.shared) < shareEvery {
		return
	}
	s.shared = s.now
	type sum struct {
		used  float64
		users int
	}
	accounts, total := map[string]*sum{}, 0.0
	for _, g := range s.ranks {
		g.advance(s.now)
		a := accounts[g.account]
		if a == nil {
			a = &sum{}
			accounts[g.account] = a
		}
		a.used, a.users, total = a.used+g.used, a.users+1, total+g.used
	}
	for _, g := range s.ranks {
		if g.behind = 0; total > 0 {
			a := accounts[g.account]
			part := 1 / float64(a.users)
			used := (g.used + (a.used-g.used)*part) / total
			g.behind = time.Duration((1 - math.Exp2(-used*float64(len(accounts)*a.users))) * float64(shareWorth)).Round(time.Second)
		}
	}
}

// remember counts what jobs used before the head started.
func (s *State) remember() {
	for _, j := range s.inOrder() {
		if last := j.usage.Last; !last.IsZero() {
			g := s.groupOf(&j.spec)
			g.used += j.usage.Wall.Seconds() * float64(max(1, j.spec.CPUs)*max(1, j.spec.Ranks)) * decay(max(0, s.now.Sub(last)))
		}
	}
}

// Use is what one user has used under one account.
type Use struct {
	Account string        `json:"account"`
	User    string        `json:"user"`
	Used    float64       `json:"used"`   // core-seconds, worth half after each day
	CPUs    int           `json:"cpus"`   // in use now
	Behind  time.Duration `json:"behind"` // how much later than they came its jobs are served
}

// Uses is who has used how much, most first.
func (s *State) Uses(now time.Time) []Use {
	list := make([]Use, 0, len(s.ranks))
	for _, g := range s.ranks {
		used := g.used*decay(max(0, now.Sub(g.at))) + float64(g.cpus)*max(0, now.Sub(g.at)).Seconds()
		list = append(list, Use{Account: g.account, User: g.user, Used: used, CPUs: g.cpus, Behind: g.behind})
	}
	sorts.Stable(list, func(a, b Use) int { return cmp.Compare(b.Used, a.Used) })
	return list
}
