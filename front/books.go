package front

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

// How keys begin: of fronts, and of where a site was served last.
const (
	keyPrefix    = "front."
	placesPrefix = "places."
)

// load reads the books.
func (s *Service) load(ctx context.Context) error {
	all, err := s.Books.List(ctx, keyPrefix)
	if err != nil {
		return err
	}
	places, err := s.Books.List(ctx, placesPrefix)
	if err != nil {
		return err
	}
	for key, value := range places {
		var list []Place
		if err := json.Unmarshal(value, &list); err != nil {
			return fmt.Errorf("read %s of the fronts: %w", key, err)
		}
		s.places[strings.TrimPrefix(key, placesPrefix)] = list
	}
	s.fronts = map[string]Front{}
	for key, value := range all {
		var f Front
		if err := json.Unmarshal(value, &f); err != nil {
			return fmt.Errorf("read %s of the fronts: %w", key, err)
		}
		s.fronts[f.Name] = f
	}
	return nil
}

// remembered is where a site is served: nodes that have not said it to this head do what they did before. What is known is kept for
// the next head.
func (s *Service) remembered(ctx context.Context, site string, now Served) (Served, error) {
	s.mu.Lock()
	before := s.places[site]
	s.mu.Unlock()
	now = recall(now, before)
	if same := slices.EqualFunc(now.Places, before, func(a, b Place) bool { return a.Node == b.Node && a.Address == b.Address }); same {
		return now, nil
	}
	value, err := json.Marshal(now.Places)
	if err == nil {
		err = s.Books.Put(ctx, placesPrefix+site, value)
	}
	if err != nil {
		return now, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[site] = now.Places
	return now, nil
}

// save writes a front down before any node hears of it.
func (s *Service) save(ctx context.Context, f Front) error {
	value, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(value) > bus.MaxMessage/2 {
		return fault.New(fault.Full, "the front %s is too large: what is written down of it has %s", f.Name, term.Bytes(int64(len(value)))).Hint("two fronts")
	}
	if err := s.Books.Put(ctx, keyPrefix+f.Name, value); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fronts[f.Name] = f
	return nil
}

// list are the fronts, by name.
func (s *Service) list() []Front {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Front
	for _, name := range slices.Sorted(maps.Keys(s.fronts)) {
		all = append(all, s.fronts[name])
	}
	return all
}

// find is the front of a name; "" is the only one, and where there are several choose is how one is named.
func (s *Service) find(name, choose string) (Front, error) {
	all := s.list()
	var names []string
	for _, f := range all {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	switch {
	case len(all) == 0:
		return Front{}, fault.New(fault.NotFound, "the cluster has no front").Hint("bramble front up --site NAME")
	case name == "" && len(all) == 1:
		return all[0], nil
	case name == "":
		return Front{}, fault.New(fault.Misused, "the cluster has %d fronts: %s", len(all), strings.Join(names, ", ")).Hint("%s", choose)
	}
	return Front{}, fault.New(fault.NotFound, "there is no front %.80s", name).Hint("one of %s", strings.Join(names, ", "))
}

// onNodes is what is known of a front's nodes without asking them.
func (s *Service) onNodes(f Front, nodes []fleet.Node) []OnNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]OnNode, len(nodes))
	for i, n := range nodes {
		all[i] = OnNode{Node: n.Name, Address: n.Address, State: n.State, Carried: Carried{Rev: s.reports[n.Name].Fronts[f.Name]}}
		all[i].Current = all[i].Rev != "" && all[i].Rev == s.orders[f.Name].Rev
	}
	return all
}

// issued is a certificate by the cluster's CA.
type issued struct {
	pair  Pair
	names string
	until time.Time
}

// certified is a certificate of the cluster's CA for the names and addresses by which visitors may come.
func (s *Service) certified(ctx context.Context, f Front, spec Spec) ([]Pair, error) {
	names := map[string]bool{"localhost": true}
	for _, p := range spec.Pools {
		if p.Host != "" {
			names[p.Host] = true
		}
	}
	for _, n := range s.carriers(f) {
		names[n.Name], names[n.Address] = true, true
	}
	for _, at := range f.Doors.TLS {
		if host, _, _ := net.SplitHostPort(at); host != "" {
			names[host] = true
		}
	}
	if shared, err := f.Doors.shared(); shared != nil && err == nil {
		names[shared.Address.String()] = true
	}
	list := slices.Sorted(maps.Keys(names))
	key := strings.Join(list, " ")
	s.mu.Lock()
	have := s.issued[f.Name]
	s.mu.Unlock()
	if have.names == key && s.Now().Before(have.until) {
		return []Pair{have.pair}, nil
	}
	pair, err := s.Certify(list)
	if err != nil {
		return nil, err
	}
	cert, err := pair.parse()
	if err != nil {
		return nil, err
	}
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued[f.Name] = issued{pair, key, cert.Leaf.NotBefore.Add(life * 2 / 3)}
	return []Pair{pair}, nil
}

// status is how fronts do: the one of that name, or all.
func (s *Service) status(ctx context.Context, _ bus.Caller, req which) (statuses, error) {
	fronts := s.list()
	if req.Name != "" {
		f, err := s.find(req.Name, "")
		if err != nil {
			return statuses{}, err
		}
		fronts = []Front{f}
	}
	var all statuses
	for _, f := range fronts {
		st := Status{Front: f.hidden(), Nodes: s.onNodes(f, s.carriers(f)), Certified: s.certifiedNames(f.Name)}
		s.ask(ctx, st)
		all.Fronts = append(all.Fronts, st)
	}
	return all, nil
}

// statuses is the answer to front.read.status.
type statuses struct {
	Fronts []Status `json:"fronts"`
}

// ask has the nodes of a front say how it does there, all at the same time.
func (s *Service) ask(ctx context.Context, st Status) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	done := make(chan struct{}, len(st.Nodes))
	for i := range st.Nodes {
		go func() {
			defer func() { done <- struct{}{} }()
			n := &st.Nodes[i]
			if n.State == fleet.Down {
				n.Error = "the node is down"
				return
			}
			var c Carried
			if err := s.Conn.Call(ctx, bus.Node("front", n.Node, "look"), which{st.Front.Name}, &c); err != nil {
				n.Error = fault.Of(err).Text
				return
			}
			n.Carried = c
		}()
	}
	for range st.Nodes {
		<-done
	}
	for i := range st.Nodes {
		s.mu.Lock()
		n := &st.Nodes[i]
		n.Current = n.Rev != "" && n.Rev == s.orders[st.Front.Name].Rev
		s.mu.Unlock()
	}
}

// String is a change in words.
func (s Setting) String() string {
	var words []string
	if s.Weight != nil {
		words = append(words, "weight "+strconv.Itoa(*s.Weight))
	}
	if s.Mode != nil {
		words = append(words, map[Mode]string{Enabled: "enabled", Draining: "drained", Disabled: "disabled", Stopped: "stopped"}[*s.Mode])
	}
	if s.Route != nil {
		words = append(words, "route "+*s.Route)
	}
	return strings.Join(words, ", ")
}
