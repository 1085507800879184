package site

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// confirmWithin is how long a publication waits for nodes that were ready to say that they serve the release.
const confirmWithin = 10 * time.Second

// publish checks what a site shall be, waits for the caller to name the tree that it has uploaded, and rolls it out.
func (s *Service) publish(ctx context.Context, who bus.Caller, req Publish, out *bus.Stream) error {
	begun := s.Now()
	if req.As != "" && (req.As != "root" || who.Role != trust.Admin) {
		return fault.New(fault.Denied, "only an admin may publish as root, and nobody as anybody else").Hint("leave --as out, or --as root with an admin's client file")
	}
	req.User = who.Name
	s.mu.Lock()
	old := s.sites[req.Name]
	s.mu.Unlock()
	site, err := merge(old, req)
	if err != nil {
		return err
	}
	if req.On != "" || old.On == "" {
		if _, err := s.Fleet.Select(site.On); err != nil {
			return err
		}
	}
	if err := clash(site, s.beside(s.nodesOf(site))); err != nil {
		return err
	}
	if _, known := s.find(site.Name); known != nil && len(s.list()) >= maxSites {
		return fault.New(fault.Full, "there are %d sites already", maxSites).Hint("bramble site remove NAME")
	}
	leave, err := s.enter(site.Name)
	if err != nil {
		return err
	}
	defer leave()
	r := &rollout{s: s, who: who, site: site, out: out, begun: begun, courtesy: req.Courtesy}
	if err := r.choose(); err != nil {
		return err
	}
	var ref artefact.Ref
	if data, err := out.Recv(); err != nil {
		return err
	} else if err := json.Unmarshal(data, &ref); err != nil || !ref.Valid() {
		return fault.New(fault.Misused, "unreadable name of a release")
	}
	if r.release, err = s.admit(ctx, site.Name, ref, who.Name); err != nil {
		return err
	}
	if known, ok := site.release(ref); ok {
		r.release = known
	}
	return r.run(ctx, "publishes")
}

// beside are the sites that some of the nodes have.
func (s *Service) beside(nodes []fleet.Node) []Site {
	selected := s.selected()
	return slices.DeleteFunc(s.list(), func(site Site) bool {
		return !slices.ContainsFunc(nodes, func(n fleet.Node) bool { return selected[site.Name][n.Name] })
	})
}

// admit pins an uploaded tree, looks whether it is a release, and signs it.
func (s *Service) admit(ctx context.Context, name string, ref artefact.Ref, user string) (Release, error) {
	s.mu.Lock()
	s.staging[name] = ref
	s.mu.Unlock()
	m, err := s.Store.GetManifest(ctx, ref)
	if err != nil {
		return Release{}, err
	}
	if err := s.Store.Pin(pinOf(name, ref), append(refsOf(m), ref)...); err != nil {
		return Release{}, err
	}
	files, _, err := split(m)
	if err != nil {
		return Release{}, err
	}
	r := Release{ID: ref, Published: s.Now().UTC().Truncate(time.Second), User: user}
	r.Files, r.Bytes = files.Sum()
	r.Sig, err = s.Sign(purpose, signed(name, ref))
	return r, err
}

// rollback makes an earlier release live again.
func (s *Service) rollback(ctx context.Context, who bus.Caller, req Rollback, out *bus.Stream) error {
	begun := s.Now()
	site, err := s.find(req.Name)
	if err != nil {
		return err
	}
	leave, err := s.enter(site.Name)
	if err != nil {
		return err
	}
	defer leave()
	r := &rollout{s: s, who: who, site: site, out: out, begun: begun}
	if r.release, err = target(site, req.To); err != nil {
		return err
	}
	if err := r.choose(); err != nil {
		return err
	}
	return r.run(ctx, "takes back")
}

// sendList sends one site a frame.
func (s *Service) sendList(_ context.Context, _ bus.Caller, _ none, out *bus.Stream) error {
	for _, site := range s.list() {
		if err := out.SendJSON(site); err != nil {
			return err
		}
	}
	return nil
}

// difference is what site.read.diff is asked.
type difference struct {
	Name string `json:"name"`
	A    string `json:"a"` // "": the release before B
	B    string `json:"b"` // "": the live one
}

// sendDiff sends one change a frame.
func (s *Service) sendDiff(ctx context.Context, _ bus.Caller, req difference, out *bus.Stream) error {
	site, err := s.find(req.Name)
	if err != nil {
		return err
	}
	b, ok := site.release(site.Live)
	if req.B != "" {
		b, err = target(site, req.B)
	} else if !ok {
		err = fault.New(fault.NotFound, "%s has no live release", site.Name)
	}
	if err != nil {
		return err
	}
	site.Live = b.ID
	a, err := target(site, req.A)
	if err != nil {
		return err
	}
	var trees [2]artefact.Manifest
	for i, r := range []Release{a, b} {
		m, err := s.Store.GetManifest(ctx, r.ID)
		if err == nil {
			trees[i], _, err = split(m)
		}
		if err != nil {
			return err
		}
	}
	for _, c := range diff(trees[0], trees[1]) {
		if err := out.SendJSON(c); err != nil {
			return err
		}
	}
	return nil
}

// sendStatus sends how a site stands on each of its nodes, one a frame.
func (s *Service) sendStatus(_ context.Context, _ bus.Caller, req removal, out *bus.Stream) error {
	site, err := s.find(req.Name)
	if err != nil {
		return err
	}
	for _, n := range s.nodesOf(site) {
		if err := out.SendJSON(s.standing(site, n)); err != nil {
			return err
		}
	}
	return nil
}

// Where is how a site stands on each of its nodes.
func (s *Service) Where(name string) (Spec, []Standing, error) {
	site, err := s.find(name)
	if err != nil {
		return Spec{}, nil, err
	}
	var all []Standing
	for _, n := range s.nodesOf(site) {
		all = append(all, s.standing(site, n))
	}
	return site.Spec, all, nil
}

// standing is how a site stands on a node.
func (s *Service) standing(site Site, n fleet.Node) Standing {
	s.mu.Lock()
	h, known := s.reports[n.Name].Sites[site.Name]
	s.mu.Unlock()
	st := Standing{Node: n.Name, State: Behind, Release: h.Release, Ready: h.Ready, Address: addressOf(n, h.Address), Error: h.Error}
	switch {
	case n.State == fleet.Down:
		st.State = Away
	case !known:
		st.State = NotThere
	case h.Release == site.Live && h.Seq == site.Seq:
		st.State = Serving
	case h.Error != "":
		st.State = Broken
	}
	return st
}
