package system

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

// model is what a store should keep.
type model struct {
	installed map[string]time.Time // by ID, when it was asked for last
	leases    map[string]Lease
	roots     map[string]bool
	held      map[string]*Held
	latest    string
	now       time.Time
}

func (m *model) needed(id string) bool {
	if id == m.latest || m.roots[id] || m.held[id] != nil {
		return true
	}
	for _, lease := range m.leases {
		alive := lease.Owner == nil || lease.Owner.PID != deadPID
		if slices.Contains(lease.Sets, id) && alive && (lease.Expires.IsZero() || m.now.Before(lease.Expires)) {
			return true
		}
	}
	return false
}

// deadPID is the number of a process that cannot be: it is above the most that
// the kernel gives.
const deadPID = 1 << 23

func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	var sets []fakeSet
	for seed := range 4 {
		sets = append(sets, makeSizedSet(t, uint64(seed), map[bundle.Kind]int{bundle.Kernel: 64, bundle.Initrd: 64}))
	}
	// Two that have their kernel in common.
	shared := makeSizedSet(t, 0, map[bundle.Kind]int{bundle.Kernel: 64, bundle.Initrd: 64})
	shared.manifest.Architectures[1].CommandLine = "quiet"
	data, err := shared.manifest.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(shared.dir, manifestName), data)
	if shared.id, err = shared.manifest.ID(); err != nil {
		t.Fatal(err)
	}
	sets = append(sets, shared)
	self, err := ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const grace = time.Hour
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	removed, kept := 0, 0
	for round := range 8 {
		m := &model{
			installed: map[string]time.Time{}, leases: map[string]Lease{}, roots: map[string]bool{}, held: map[string]*Held{},
			now: time.Unix(1_800_000_000, 0),
		}
		options := Options{now: func() time.Time { return m.now }}
		for _, set := range sets {
			options.Sources = append(options.Sources, Dir(set.dir))
		}
		s := NewStore(t.TempDir(), options)
		for range 60 {
			set := sets[random.IntN(len(sets))]
			_, has := m.installed[set.id]
			switch random.IntN(9) {
			case 0, 1:
				if _, err := s.Install(t.Context(), set.id); err != nil {
					t.Fatal(err)
				}
				m.installed[set.id] = m.now
			case 2:
				lease := Lease{Name: "vm" + string(rune('a'+random.IntN(3))), Sets: []string{set.id}}
				switch random.IntN(3) {
				case 0:
					lease.Expires = m.now.Add(time.Duration(random.IntN(4)) * grace)
				case 1:
					lease.Owner = self
				default:
					dead := *self
					dead.PID = deadPID
					lease.Owner = &dead
				}
				if err := s.Lease(t.Context(), lease); (err == nil) != has {
					t.Fatalf("lease of a set that is there: %v, got error %v", has, err)
				}
				if has {
					m.leases[lease.Name] = lease
				}
			case 3:
				name := "vm" + string(rune('a'+random.IntN(3)))
				if err := s.Release(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				delete(m.leases, name)
			case 4:
				if m.roots[set.id] = has && !m.roots[set.id]; !m.roots[set.id] {
					delete(m.roots, set.id)
				}
			case 5:
				if held := m.held[set.id]; held != nil {
					if err := held.Close(); err != nil {
						t.Fatal(err)
					}
					delete(m.held, set.id)
				} else if has {
					if m.held[set.id], err = s.Hold(t.Context(), set.id, ""); err != nil {
						t.Fatal(err)
					}
				}
			case 6:
				if has {
					if err := s.SetLatest(t.Context(), set.id); err != nil {
						t.Fatal(err)
					}
					m.latest = set.id
				}
			case 7:
				m.now = m.now.Add(time.Duration(random.IntN(180)) * time.Minute)
			default:
				var roots []string
				for id := range m.roots {
					roots = append(roots, id)
				}
				o := CollectOptions{Roots: roots, Grace: grace, DryRun: true}
				announced, err := s.Collect(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				o.DryRun = false
				done, err := s.Collect(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(announced, done) {
					t.Errorf("dry run says\n%v\nbut it was\n%v", announced, done)
				}
				for _, set := range sets {
					at, was := m.installed[set.id]
					keep := was && (m.needed(set.id) || m.now.Sub(at) <= grace)
					got, err := s.Resolve(t.Context(), set.id, "")
					switch {
					case keep && err != nil:
						t.Fatalf("round %d: lost a set that is needed: %v", round, err)
					case !keep && !errors.Is(err, fs.ErrNotExist):
						t.Fatalf("round %d: kept a set that nobody needs: error %v", round, err)
					case keep:
						kept++
						wantSet(t, got, set)
					case was:
						removed++
						delete(m.installed, set.id)
						delete(m.roots, set.id)
					}
				}
				for name, lease := range m.leases {
					over := lease.Owner != nil && lease.Owner.PID == deadPID || !lease.Expires.IsZero() && !m.now.Before(lease.Expires)
					if over {
						delete(m.leases, name)
					}
				}
				checkNothingStray(t, s, m, sets)
			}
		}
		for _, held := range m.held {
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("sets kept %d times, removed %d times", kept, removed)
	if kept == 0 || removed == 0 {
		t.Error("the sequences tested nothing")
	}
}

// checkNothingStray fails if there is a file of no set that is installed.
func checkNothingStray(t *testing.T, s *Store, m *model, sets []fakeSet) {
	t.Helper()
	known := map[string]bool{}
	for _, set := range sets {
		if _, ok := m.installed[set.id]; ok {
			for _, kind := range []bundle.Kind{bundle.Kernel, bundle.Initrd, bundle.KernelInfo} {
				known[set.file(kind).SHA256] = true
			}
		}
	}
	for name := range tree(t, s.dataDir) {
		if _, digest, ok := strings.Cut(name, digestPrefix); ok && !known[digest[:64]] {
			t.Errorf("%s is of no set", name)
		}
	}
}

// TestCollectRaces collects while others install, hold and resolve the same sets.
func TestCollectRaces(t *testing.T) {
	a, b := makeSet(t, 1), makeSet(t, 2)
	s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(a.dir), Dir(b.dir)}})
	done := make(chan struct{})
	var collecting, using sync.WaitGroup
	removed := 0
	collecting.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			decisions, err := s.Collect(t.Context(), CollectOptions{Grace: NoGrace})
			if err != nil {
				t.Error(err)
				return
			}
			for _, decision := range decisions {
				if decision.Remove && decision.ID != "" {
					removed++
				}
			}
		}
	})
	held := make([]int, 4)
	for i := range held {
		using.Go(func() {
			set := []fakeSet{a, b}[i%2]
			for range 10 {
				if _, err := s.Install(t.Context(), set.id); err != nil {
					t.Error(err)
					return
				}
				hold, err := s.Hold(t.Context(), set.id, "")
				if errors.Is(err, fs.ErrNotExist) {
					continue // collected in between, as nothing kept it
				}
				if err != nil {
					t.Error(err)
					return
				}
				held[i]++
				wantSet(t, hold.Set, set)
				if got, err := s.Resolve(t.Context(), set.id, ""); err != nil {
					t.Errorf("held, but %v", err)
				} else {
					wantSet(t, got, set)
				}
				if err := hold.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	using.Wait()
	close(done)
	collecting.Wait()
	t.Logf("held %v times of 10, removed %d times", held, removed)
}

func TestCollectSaysWhy(t *testing.T) {
	rooted, leased, held, latest, young, old := makeSet(t, 1), makeSet(t, 2), makeSet(t, 3), makeSet(t, 4), makeSet(t, 5), makeSet(t, 6)
	s := install(t, rooted, leased, held, latest, old)
	now := time.Now()
	s.options.now = func() time.Time { return now }
	if err := s.SetLatest(t.Context(), latest.id); err != nil {
		t.Fatal(err)
	}
	if err := s.Lease(t.Context(), Lease{Name: "vm-1", Sets: []string{leased.id}, Expires: now.Add(100 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	hold, err := s.Hold(t.Context(), held.id, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := hold.Close(); err != nil {
			t.Error(err)
		}
	}()
	now = now.Add(DefaultGrace + time.Minute)
	s.options.Sources = []Source{Dir(young.dir)}
	if _, err := s.Install(t.Context(), young.id); err != nil {
		t.Fatal(err)
	}
	// What somebody left who was killed.
	stray := filepath.Join(s.dataDir, "system/kernel", digestPrefix+strings.Repeat("0", 64), "x86_64/vmlinux")
	writeFile(t, stray, nil)
	decisions, err := s.Collect(t.Context(), CollectOptions{Roots: []string{rooted.id}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		rooted.id: "root", leased.id: "lease vm-1", held.id: "held by a process", latest.id: "latest",
		young.id:                          "asked for at " + now.UTC().Format(time.RFC3339) + ", within the grace time",
		old.id:                            "neither root nor leased, held or latest, and older than the grace time",
		filepath.Dir(filepath.Dir(stray)): "it is of no set",
	}
	for _, decision := range decisions {
		if decision.Reason != want[decision.ID+decision.Path] {
			t.Errorf("%+v, want reason %q", decision, want[decision.ID+decision.Path])
		}
		if remove := decision.ID == old.id || decision.ID == ""; decision.Remove != remove {
			t.Errorf("%+v, want remove %v", decision, remove)
		}
		if decision.ID == old.id && decision.Bytes != 64<<10+old.file(bundle.KernelInfo).Size {
			// Its kernel.json is that of all, so that removing it gives nothing back.
			if decision.Bytes != 64<<10 {
				t.Errorf("%+v, want 64 KiB", decision)
			}
		}
	}
	if len(decisions) != len(want) {
		t.Errorf("%d decisions, want %d", len(decisions), len(want))
	}
}

func TestLeases(t *testing.T) {
	set := makeSet(t, 1)
	s := install(t, set)
	self, err := ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, lease := range map[string]Lease{
		"no name":     {Sets: []string{set.id}, Owner: self},
		"path":        {Name: "../x", Sets: []string{set.id}, Owner: self},
		"no sets":     {Name: "vm", Owner: self},
		"no ID":       {Name: "vm", Sets: []string{"latest"}, Owner: self},
		"half owner":  {Name: "vm", Sets: []string{set.id}, Owner: &Process{PID: 1}},
		"endless":     {Name: "vm", Sets: []string{set.id}},
		"not present": {Name: "vm", Sets: []string{"sha256:" + strings.Repeat("0", 64)}, Owner: self},
	} {
		if err := s.Lease(t.Context(), lease); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	reused, rebooted, elsewhere := *self, *self, *self
	reused.Start++
	rebooted.BootID = "before"
	elsewhere.Namespace, elsewhere.PID = "pid:[1]", deadPID
	for name, test := range map[string]struct {
		process *Process
		want    bool
	}{
		"itself": {self, true}, "number reused": {&reused, false}, "before a reboot": {&rebooted, false}, "other container": {&elsewhere, true},
	} {
		if got, err := test.process.Alive(); err != nil || got != test.want {
			t.Errorf("%s: Alive = %v, %v, want %v", name, got, err, test.want)
		}
	}
	if _, err := ProcessOf(deadPID); err == nil {
		t.Error("process that cannot be: no error")
	}
	if err := s.Lease(t.Context(), Lease{Name: "vm", Sets: []string{set.id}, Owner: self}); err != nil {
		t.Fatal(err)
	}
	if leases, err := s.Leases(t.Context()); err != nil || len(leases) != 1 || leases[0].Owner == nil || *leases[0].Owner != *self {
		t.Errorf("Leases = %+v, %v", leases, err)
	}
	// A lease that cannot be read might protect anything.
	writeFile(t, filepath.Join(s.dataDir, "system/leases/vm2.json"), []byte(`{"version": 1, "version": 1}`))
	if _, err := s.Collect(t.Context(), CollectOptions{Grace: NoGrace}); err == nil || !strings.HasSuffix(err.Error(), `vm2.json: key "version" stands twice`) {
		t.Errorf("bad lease: got error %v", err)
	}
	if _, err := s.Resolve(t.Context(), set.id, ""); err != nil {
		t.Error(err)
	}
}
