package front

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
)

// issuing has certificates issued for a front: the head asks the CA, the front's nodes answer it.
type issuing struct {
	of     Issuer
	acme   *ACME
	trials map[string]trial // by name; with the service's lock
	stop   func()           // returns when nothing is asked any more
}

// How keys begin: of accounts and certificates, by the CA's directory, and of attempts, by front and name.
const (
	shelfPrefix = "acme."
	trialPrefix = "trial."
)

// spreading is how long nodes may take until all of them answer the CA.
const spreading = 15 * time.Second

// issue has certificates issued for the fronts that want that, and for no others, until ctx ends.
func (s *Service) issue(ctx context.Context) {
	wanted := map[string]Issuer{}
	for _, f := range s.list() {
		if f.Doors.ACME != nil {
			wanted[f.Name] = *f.Doors.ACME
		}
	}
	s.mu.Lock()
	anew := maps.Clone(s.anew)
	clear(s.anew)
	over := map[string]*issuing{}
	for name, i := range s.issuers {
		if of, ok := wanted[name]; !ok || anew[name] || !reflect.DeepEqual(of, i.of) {
			over[name] = i
			delete(s.issuers, name)
		}
	}
	s.mu.Unlock()
	for name, i := range over {
		i.stop()
		anew[name] = true
	}
	for name := range anew {
		if err := s.forgive(ctx, name); err != nil && ctx.Err() == nil {
			s.Log.Warn("it is still remembered that certificates were not issued", "front", name, "error", err)
		}
	}
	for name, of := range wanted {
		if s.issuers[name] != nil {
			continue
		}
		if err := s.beginIssuing(ctx, name, of); err != nil && ctx.Err() == nil {
			s.Log.Error("certificates are not asked for", "front", name, "error", err)
		}
	}
}

// stopIssuing returns when nothing is asked any more.
func (s *Service) stopIssuing() {
	s.mu.Lock()
	over := s.issuers
	s.issuers = map[string]*issuing{}
	s.mu.Unlock()
	for _, i := range over {
		i.stop()
	}
}

// beginIssuing begins for a front, where the head before left off.
func (s *Service) beginIssuing(ctx context.Context, name string, of Issuer) error {
	acme, err := of.ACME(s.Log.With("front", name))
	if err != nil {
		return err
	}
	shelf := shelfPrefix + strings.ReplaceAll(shelfName(acme.Directory), ".", "_") + "."
	had, err := s.Books.List(ctx, shelf)
	if err != nil {
		return err
	}
	acme.Shelf = ledger{had, shelf, func(key string, value []byte) error { return s.Books.Put(ctx, key, value) }}
	if acme.trials, err = s.tried(ctx, name); err != nil {
		return err
	}
	acme.told = func(host string, t trial) { s.attempted(ctx, name, host, t) }
	acme.spread = func(ctx context.Context, path string) error { return s.spread(ctx, name, path) }
	acme.soon = s.soon
	if err := acme.Open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { acme.run(ctx) })
	s.mu.Lock()
	s.issuers[name] = &issuing{of, acme, maps.Clone(acme.trials), func() { cancel(); running.Wait() }}
	s.mu.Unlock()
	s.Changed()
	return nil
}

// ledger is a shelf in the head's books, as they were when it began.
type ledger struct {
	had    map[string][]byte
	prefix string
	put    func(key string, value []byte) error
}

func (l ledger) Read(name string) ([]byte, error) {
	if text, ok := l.had[l.prefix+name]; ok {
		return text, nil
	}
	return nil, fs.ErrNotExist
}

func (l ledger) Write(name string, text []byte) error { return l.put(l.prefix+name, text) }

// tried is how attempts for a front's names went, as it is in the books.
func (s *Service) tried(ctx context.Context, front string) (map[string]trial, error) {
	prefix := trialPrefix + front + "."
	all, err := s.Books.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	trials := map[string]trial{}
	for key, value := range all {
		var t trial
		if err := json.Unmarshal(value, &t); err != nil {
			return nil, fmt.Errorf("read %s of the fronts: %w", key, err)
		}
		trials[strings.TrimPrefix(key, prefix)] = t
	}
	return trials, nil
}

// forgive forgets how attempts went: whoever puts a front up has mended what was wrong.
func (s *Service) forgive(ctx context.Context, front string) error {
	trials, err := s.tried(ctx, front)
	for host := range trials {
		if err == nil {
			err = s.Books.Delete(ctx, trialPrefix+front+"."+host)
		}
	}
	return err
}

// attempted writes down how an attempt goes, so that a head that is killed again and again asks a CA no more often than another one.
func (s *Service) attempted(ctx context.Context, front, host string, t trial) {
	value, err := json.Marshal(t)
	if err == nil {
		err = s.Books.Put(ctx, trialPrefix+front+"."+host, value)
	}
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("how an attempt to get a certificate goes is not written down", "front", front, "name", host, "error", err)
	}
	s.mu.Lock()
	if i := s.issuers[front]; i != nil {
		i.trials[host] = t
	}
	s.mu.Unlock()
	switch {
	case t.Failures == 0:
		s.Events.Record(event.Event{Kind: event.Change, Room: "front", Text: fmt.Sprintf("a certificate for %s of the front %s was issued", host, front)})
	case t.Why != underWay:
		s.Events.Record(event.Event{Kind: event.Change, Room: "front", Bad: true, Text: fmt.Sprintf("no certificate for %s of the front %s was issued: %s", host, front, t.Why)})
	}
	s.Changed()
}

// spread returns when all nodes of a front that are up answer the CA at a path.
func (s *Service) spread(ctx context.Context, name, path string) error {
	ctx, cancel := context.WithTimeout(ctx, spreading)
	defer cancel()
	for {
		f, err := s.find(name, "")
		if err == nil {
			err = s.compose(ctx, f)
		}
		if err != nil {
			return err
		}
		s.Changed()
		missing := s.without(ctx, f, path)
		if len(missing) == 0 {
			return nil
		}
		if !wait(ctx, watchEvery) {
			return fault.New(fault.Unreachable, "the CA cannot be answered yet by %s", strings.Join(missing, ", ")).Hint("bramble front status %s", name)
		}
	}
}

// without are the nodes of a front that do not answer the CA at a path.
func (s *Service) without(ctx context.Context, f Front, path string) (missing []string) {
	s.mu.Lock()
	o := s.orders[f.Name]
	s.mu.Unlock()
	st := Status{Front: f, Nodes: s.onNodes(f, s.carriers(f))}
	s.ask(ctx, st)
	up := 0
	for _, n := range st.Nodes {
		if n.State != fleet.Up {
			continue
		}
		if up++; n.Rev != o.Rev || o.Proofs[path] == "" {
			missing = append(missing, n.Node)
		}
	}
	if up == 0 {
		return []string{"any node of " + f.On}
	}
	return missing
}

// issuedFor is what a front's nodes are told of its names.
func (s *Service) issuedFor(f Front) (texts, proofs map[string]string, err error) {
	s.mu.Lock()
	i := s.issuers[f.Name]
	s.mu.Unlock()
	if i == nil { // which begins in a moment
		a, err := f.Doors.ACME.ACME(s.Log)
		if err != nil {
			return nil, nil, err
		}
		return a.texts()
	}
	return i.acme.texts()
}

// certifiedNames is how a front's names stand.
func (s *Service) certifiedNames(name string) (all []Certified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.issuers[name]
	if i == nil {
		return nil
	}
	for _, host := range i.acme.Hosts {
		t := i.trials[host]
		c := Certified{Name: host, Next: t.Next, Why: t.Why}
		if cert, _ := i.acme.certificate(host); cert != nil {
			c.Until = cert.Leaf.NotAfter
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Certified) int { return strings.Compare(a.Name, b.Name) })
	return all
}
