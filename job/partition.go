package job

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"bramble/fault"
)

// Partition is a named selection of nodes with limits on the jobs that run there.
type Partition struct {
	Name        string        `json:"name"`
	On          string        `json:"on,omitempty"`           // fleet selection; "" is every worker
	Default     bool          `json:"default,omitempty"`      // for jobs that name none
	Priority    int           `json:"priority,omitempty"`     // jobs of a higher one are served first, however long others have waited
	Down        bool          `json:"down,omitempty"`         // takes jobs and starts none
	MaxTime     time.Duration `json:"max_time,omitempty"`     // longest time limit; 0: none needed
	DefaultTime time.Duration `json:"default_time,omitempty"` // time limit of a job without one; 0: MaxTime
	MaxNodes    int           `json:"max_nodes,omitempty"`    // of one job; 0: all
	UserCPUs    int           `json:"user_cpus,omitempty"`    // cores that one user's jobs have at the same time; 0: all
	Users       []string      `json:"users,omitempty"`        // who may use it; none: everybody
	Accounts    []string      `json:"accounts,omitempty"`     // likewise
}

// maxPartitions is how many partitions a cluster has at the most.
const maxPartitions = 200

// Validate checks a partition on its own; its errors are fault.Misused.
func (p Partition) Validate() error {
	switch {
	case p.Name == "" || len(p.Name) > 60 || strings.ContainsFunc(p.Name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
	}):
		return fault.New(fault.Misused, "%.60q can't be a partition's name: letters, digits, - _ and . only", p.Name).Hint("bramble partition set gpu --on label=gpu")
	case p.MaxTime < 0 || p.DefaultTime < 0 || p.MaxNodes < 0 || p.UserCPUs < 0:
		return fault.New(fault.Misused, "a partition's limits can't be negative").Hint("leave out a limit that there is not to be")
	case p.MaxTime > 0 && p.DefaultTime > p.MaxTime:
		return fault.New(fault.Misused, "the time limit that jobs get, %s, is longer than the longest allowed, %s", p.DefaultTime, p.MaxTime)
	}
	return nil
}

// Admit checks a job against its partition and gives it the time limit that it did not ask for. Its errors are
// fault.Denied and fault.Misused.
func (p Partition) Admit(s Spec) (Spec, error) {
	account := s.Account
	if account == "" {
		account = "default"
	}
	switch {
	case len(p.Users) > 0 && !slices.Contains(p.Users, s.User):
		return s, fault.New(fault.Denied, "partition %s is for %s, not for %s", p.Name, strings.Join(p.Users, ", "), s.User).Hint("bramble partition list")
	case len(p.Accounts) > 0 && !slices.Contains(p.Accounts, account):
		return s, fault.New(fault.Denied, "partition %s is for account %s, not for %s", p.Name, strings.Join(p.Accounts, ", "), account).Hint("--account %s", p.Accounts[0])
	case p.MaxNodes > 0 && s.Nodes > p.MaxNodes:
		return s, fault.New(fault.Misused, "partition %s gives a job at most %d nodes, not %d", p.Name, p.MaxNodes, s.Nodes).Hint("--nodes %d", p.MaxNodes)
	case p.UserCPUs > 0 && s.CPUs*max(1, s.Ranks) > p.UserCPUs:
		return s, fault.New(fault.Misused, "partition %s gives a user at most %d cores, and a task of this job takes %d", p.Name, p.UserCPUs, s.CPUs*max(1, s.Ranks)).Hint("--cpus %d", p.UserCPUs)
	case p.MaxTime > 0 && s.Timeout > p.MaxTime:
		return s, fault.New(fault.Misused, "partition %s gives a task at most %s, not %s", p.Name, p.MaxTime, s.Timeout).Hint("--timeout %s", p.MaxTime)
	}
	if s.Timeout == 0 {
		if s.Timeout = p.DefaultTime; s.Timeout == 0 {
			s.Timeout = p.MaxTime
		}
	}
	return s, nil
}

// setPartitions says which partitions there are.
func (s *State) setPartitions(list []Partition) {
	s.partitions = map[string]Partition{}
	for _, p := range list {
		s.partitions[p.Name] = p
	}
	for _, j := range s.inOrder() {
		if j.ended.IsZero() && j.sel != nil {
			s.leave(j)
			s.settle(j)
		}
	}
}

// usersCPUs is how many cores a user may still be given in the job's partition; a large number where there is no limit.
func (s *State) usersCPUs(j *job) int {
	p := s.partitions[j.spec.Partition]
	if p.UserCPUs == 0 {
		return 1 << 30
	}
	return p.UserCPUs - s.inUse[useKey{j.spec.Partition, j.spec.User}]
}

// useKey names a user's work in a partition.
type useKey struct{ partition, user string }
