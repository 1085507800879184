package artefact

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/metric"
)

// Vault is the node's half of Stores: it keeps what the head tells it to, looks whether it still is what it was, and
// answers what is in its store.
type Vault struct {
	Conn    *bus.Conn
	Store   *Store
	Blobs   *Client                      // where the head has its blobs
	Near    func(address string) *Client // where another node has its own; nil: all comes from the head
	Metrics *metric.Set
	Log     *slog.Logger

	working handlers
	hurt    chan []string // IDs of which a blob was found damaged
	lost    atomic.Int64  // blobs found damaged since the start
}

// Run serves until ctx ends.
func (v *Vault) Run(ctx context.Context) error {
	v.hurt = make(chan []string, 256)
	v.Store.WhenDamaged(v.noteDamage)
	v.register()
	name := v.Conn.Who().Name
	err := errors.Join(
		bus.HandleStream(ctx, v.Conn, bus.Node("artefact", name, "keep"), v.keep),
		bus.Handle(ctx, v.Conn, bus.Node("artefact", name, "drop"), v.drop),
		bus.HandleStream(ctx, v.Conn, bus.Node("artefact", name, "held"), v.held),
		bus.HandleStream(ctx, v.Conn, bus.Node("artefact", name, "store"), v.store),
	)
	if err != nil {
		return err
	}
	err = errors.Join(inParallel(
		func() error { return v.tellDamage(ctx) },
		func() error { return (&scrubber{s: v.Store, log: v.Log}).run(ctx) },
	))
	v.working.wait()
	return err
}

func (v *Vault) register() {
	v.Metrics.Gauge("bramble_artefact_bytes", "Bytes in the node's store.", func() float64 { return float64(v.Store.Used()) })
	v.Metrics.Collect("bramble_artefact_damaged_total", "Blobs that were found damaged here, moved away and counted.", "counter",
		func(emit metric.Emit) { emit(float64(v.Store.Settings().Damaged)) })
	v.Metrics.Collect("bramble_artefact_scrubbed_bytes", "Bytes read, this time through, to see whether they are still what they were.", "gauge",
		func(emit metric.Emit) { emit(float64(v.Store.Settings().Scrub.Bytes)) })
}

// noteDamage must not block.
func (v *Vault) noteDamage(ref Ref, pins []string) {
	v.Log.Error("a blob was damaged and is moved away", "blob", ref, "pins", len(pins))
	var ids []string
	for _, pin := range pins {
		if id, ok := strings.CutPrefix(pin, durablePrefix); ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	select {
	case v.hurt <- ids:
	default: // the head looks what is missing when this node connects the next time
	}
}

// tellDamage has the head see to it that lost copies are brought anew.
func (v *Vault) tellDamage(ctx context.Context) error {
	for {
		select {
		case ids := <-v.hurt:
			if err := v.Conn.Publish(bus.From("artefact", v.Conn.Who().Name, "damaged"), ids); err != nil {
				v.Log.Warn("the head is not told of damage", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// keep brings this node's share of a durable artefact and holds it.
func (v *Vault) keep(ctx context.Context, _ bus.Caller, t keepTask, out *bus.Stream) error {
	leave, err := v.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	tell := &teller{out: out, step: Fetching}
	end, err := v.bring(ctx, t, tell)
	return reportEnd(ctx, out, end, err)
}

func (v *Vault) bring(ctx context.Context, t keepTask, tell *teller) (End, error) {
	pin := durablePrefix + t.ID
	if err := v.Store.Pin(pin, t.Ref); err != nil {
		return End{}, err
	}
	list := Blob{t.Ref, -1}
	if err := v.get(ctx, list, MaxManifest, t, nil); err != nil {
		return End{}, err
	}
	m, err := v.Store.GetManifest(ctx, t.Ref)
	if err != nil {
		return End{}, err
	}
	list.Size, _ = v.Store.stat(t.Ref)
	share := shares(Durable{Ref: t.Ref}.blobs(m, list.Size), t.Ring, t.Copies)[v.Conn.Who().Name]
	refs := []Ref{t.Ref}
	for _, b := range share {
		refs = append(refs, b.Ref)
	}
	if err := v.Store.Pin(pin, refs...); err != nil {
		return End{}, err
	}
	if err := v.getAll(ctx, share, t, tell); err != nil {
		return End{}, err
	}
	if t.Exact {
		err = v.Store.Repin(pin, refs...)
	}
	end := End{Files: len(share)}
	for _, b := range share {
		end.Bytes += b.Size
	}
	end.Moved = tell.moved()
	return end, err
}

// fetchWidth is how many blobs are brought at the same time.
const fetchWidth = 2

func (v *Vault) getAll(ctx context.Context, share []Blob, t keepTask, tell *teller) error {
	var missing []Blob
	var here, total int64
	for _, b := range share {
		total += b.Size
		_, ok := v.Store.stat(b.Ref)
		if ok && t.Proof {
			err := v.Store.Verify(ctx, b.Ref)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			ok = err == nil
		}
		if ok {
			here += b.Size
		} else {
			missing = append(missing, b)
		}
	}
	all := &meter{tell: tell.set}
	all.add(here, total)
	return parallel(ctx, fetchWidth, len(missing), func(ctx context.Context, i int) error {
		p := &part{m: all}
		return v.get(ctx, missing[i], missing[i].Size, t, func(done, _ int64) { p.set(done) })
	})
}

// get brings one blob from the first who gives it whole.
func (v *Vault) get(ctx context.Context, b Blob, most int64, t keepTask, tell Progress) error {
	err := fault.New(fault.NotFound, "nobody has blob %s", b.Ref.short())
	var last error = err
	for _, c := range v.sources(b.Ref, t) {
		if last = c.fetch(ctx, v.Store, []Blob{b}, most, tell); last == nil || ctx.Err() != nil || fault.Is(last, fault.Full) {
			return last
		}
		v.Log.Info("a copy does not come", "blob", b.Ref.short(), "from", c.Base, "error", last)
	}
	return last
}

// sources are where a blob may be, those that should have it first.
func (v *Vault) sources(ref Ref, t keepTask) []*Client {
	names := keepers(ref, t.Have, t.Copies)
	for _, h := range slices.Concat(t.Have, t.Ring) {
		if !slices.Contains(names, h.Node) {
			names = append(names, h.Node)
		}
	}
	var all []*Client
	for _, name := range names {
		address := t.Peers[name]
		if address == "" || v.Near == nil || name == v.Conn.Who().Name {
			continue
		}
		c := v.Near(address)
		c.Tries, c.Idle, c.Busy = 2, 20*time.Second, time.Minute
		c.courteous = true // copies are made again in the background
		all = append(all, c)
	}
	if len(t.Have) == 0 {
		return slices.Insert(all, 0, v.Blobs)
	}
	return append(all, &Client{HTTP: v.Blobs.HTTP, Base: v.Blobs.Base, Tries: 2})
}

func (v *Vault) drop(_ context.Context, _ bus.Caller, t dropTask) (struct{}, error) {
	return struct{}{}, v.Store.Unpin(durablePrefix + t.ID)
}

// held tells what is kept here, and what should be and is not.
func (v *Vault) held(_ context.Context, _ bus.Caller, _ struct{}, out *bus.Stream) error {
	names, err := v.Store.Pins()
	if err != nil {
		return err
	}
	for _, name := range names {
		id, ok := strings.CutPrefix(name, durablePrefix)
		if !ok {
			continue
		}
		refs, err := v.Store.pinned(name)
		if err != nil {
			return err
		}
		h := heldPin{ID: id, Blobs: len(refs)}
		for _, ref := range refs {
			if _, err := os.Stat(v.Store.blob(ref)); err != nil && len(h.Missing) < maxMissing {
				h.Missing = append(h.Missing, ref)
			}
		}
		if err := out.SendJSON(h); err != nil {
			return err
		}
	}
	return nil
}

// store answers what is asked of this node's store.
func (v *Vault) store(ctx context.Context, _ bus.Caller, t StoreTask, out *bus.Stream) error {
	leave, err := v.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return v.Store.work(ctx, t, func(ev StoreEvent) error { return out.SendJSON(ev) })
}

// inParallel runs all and returns what went wrong when all have ended.
func inParallel(work ...func() error) error {
	errs := make(chan error, len(work))
	for _, f := range work {
		go func() { errs <- f() }()
	}
	var all []error
	for range work {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
