package site

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bramble/artefact"
)

// Books is where the head keeps sites: a value is on its disk when Put returns.
type Books interface {
	Put(ctx context.Context, key string, value []byte) error
	List(ctx context.Context, prefix string) (map[string][]byte, error)
}

// keyPrefix begins a site's key.
const keyPrefix = "site."

// load reads the books, and lets go of releases that no site has.
func (s *Service) load(ctx context.Context) error {
	all, err := s.Books.List(ctx, keyPrefix)
	if err != nil {
		return err
	}
	s.sites = map[string]Site{}
	for key, value := range all {
		var site Site
		if err := json.Unmarshal(value, &site); err != nil {
			return fmt.Errorf("read %s of the sites: %w", key, err)
		}
		s.sites[site.Name] = site
	}
	return s.unpin()
}

// save writes a site down before anybody hears of it.
func (s *Service) save(ctx context.Context, site Site) error {
	value, err := json.Marshal(site)
	if err != nil {
		return err
	}
	if err := s.Books.Put(ctx, keyPrefix+site.Name, value); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sites[site.Name] = site
	return nil
}

// pinOf is the name under which a store holds a release.
func pinOf(name string, id artefact.Ref) string { return pinPrefix + name + "." + string(id) }

const pinPrefix = "site-"

// unpin lets go of releases that no site has and nobody publishes now.
func (s *Service) unpin() error {
	keep := map[string]bool{}
	s.mu.Lock()
	for _, site := range s.sites {
		for _, r := range site.Releases {
			keep[pinOf(site.Name, r.ID)] = !site.Removed
		}
	}
	for name, id := range s.staging {
		keep[pinOf(name, id)] = true
	}
	s.mu.Unlock()
	pins, err := s.Store.Pins()
	if err != nil {
		return err
	}
	for _, pin := range pins {
		if strings.HasPrefix(pin, pinPrefix) && !keep[pin] {
			if err := s.Store.Unpin(pin); err != nil {
				return err
			}
		}
	}
	return nil
}

// list are the sites there are, by name.
func (s *Service) list() []Site {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Site
	for _, name := range slices.Sorted(maps.Keys(s.sites)) {
		if !s.sites[name].Removed {
			all = append(all, s.sites[name])
		}
	}
	return all
}
