package clock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// fake is a clock of a test, which stands still.
type fake struct {
	at  time.Time
	err error // of setting it
}

func (f *fake) clock() *Clock {
	return New(func() time.Time { return f.at }, func(t time.Time) error {
		if f.err == nil {
			f.at = t
		}
		return f.err
	})
}

func TestSync(t *testing.T) {
	refused := errors.New("not permitted")
	tests := []struct {
		name      string
		ahead     time.Duration
		threshold time.Duration
		setErr    error
		stepped   bool
		wantErr   string
	}{
		{"right", 0, time.Second, nil, false, ""},
		{"at the threshold", time.Second, time.Second, nil, false, ""},
		{"behind, at the threshold", -time.Second, time.Second, nil, false, ""},
		{"ahead", time.Second + 1, time.Second, nil, true, ""},
		{"behind", -time.Second - 1, time.Second, nil, true, ""},
		{"years behind", -50 * 365 * 24 * time.Hour, time.Second, nil, true, ""},
		{"own threshold", 2 * time.Second, time.Minute, nil, false, ""},
		{"not set", time.Hour, time.Second, refused, false, "set clock: not permitted"},
	}
	for _, test := range tests {
		guest := fake{at: noon.Add(test.ahead), err: test.setErr}
		clock := guest.clock()
		offset, stepped, err := clock.Sync(noon, test.threshold)
		if offset != test.ahead || stepped != test.stepped || (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got offset %v, stepped %v, error %v, want %v, %v, %q", test.name, offset, stepped, err, test.ahead, test.stepped, test.wantErr)
		}
		want, steps := noon.Add(test.ahead), uint64(0)
		if test.stepped {
			want, steps = noon, 1
		}
		if !guest.at.Equal(want) || clock.Steps() != steps {
			t.Errorf("%s: the clock is at %v after %d steps, want %v after %d", test.name, guest.at, clock.Steps(), want, steps)
		}
	}
}

// TestKeeper lets a clock go wrong between looks.
func TestKeeper(t *testing.T) {
	var said bytes.Buffer
	guest := fake{at: noon.Add(-time.Hour)}
	clock := guest.clock()
	ticks, forks := make(chan time.Time), make(chan struct{})
	looked := make(chan error)
	k := keeper{clock: clock, ticks: ticks, forks: forks, logger: log.New(&said, "", 0), host: func() (time.Time, error) {
		return noon, <-looked // the test knows that it looks, and lets it go on
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.run(ctx)
	}()
	// By the time of an event it waits for events again: the look is over.
	looked <- nil
	ticks <- noon
	if steps := clock.Steps(); steps != 1 || !guest.at.Equal(noon) {
		t.Errorf("at its start: got %d steps to %v, want 1 to %v", steps, guest.at, noon)
	}
	looked <- nil
	guest.err = errors.New("not permitted")
	forks <- struct{}{}
	if steps := clock.Steps(); steps != 1 {
		t.Errorf("at a tick with the right time: got %d steps, want 1", steps)
	}
	guest.at = noon.Add(3 * time.Second)
	for range 2 {
		looked <- nil
		forks <- struct{}{}
	}
	guest.err = nil
	looked <- nil
	forks <- struct{}{}
	if steps := clock.Steps(); steps != 2 || !guest.at.Equal(noon) {
		t.Errorf("at a fork: got %d steps to %v, want 2 to %v", steps, guest.at, noon)
	}
	looked <- errors.New("no device")
	cancel()
	<-ended
	want := "[guest-agent] clock: stepped, was off by -1h0m0s\n" +
		"[guest-agent] clock: set clock: not permitted\n" +
		"[guest-agent] clock: stepped, was off by 3s\n" +
		"[guest-agent] clock: no device\n"
	if said.String() != want {
		t.Errorf("got log\n%s\nwant\n%s", &said, want)
	}
}

// TestFindDevice adds devices one by one: only KVM's clock is the host's.
func TestFindDevice(t *testing.T) {
	class := t.TempDir()
	add := func(name, clock string) {
		dir := filepath.Join(class, name)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "clock_name"), []byte(clock), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name, clock, want string
	}{
		{"", "", ""},
		{"ptp0", "i40e PHC\n", ""},
		{"ptp1", "KVM virtual PTP\n", "/dev/ptp1"},
	} {
		if step.name != "" {
			add(step.name, step.clock)
		}
		if got, err := findDevice(class, "/dev"); got != step.want || err != nil {
			t.Errorf("with %q: got %q, %v, want %q", step.clock, got, err, step.want)
		}
	}
	if got, err := findDevice(filepath.Join(class, "none"), "/dev"); got != "" || err != nil {
		t.Errorf("without the folder: got %q, %v, want nothing", got, err)
	}
}

// TestDeviceTimeOfNoClock checks that a file's descriptor is not taken for one
// of the kernel's own clocks.
func TestDeviceTimeOfNoClock(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if at, err := deviceTime(file); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("got %v, %v of a file that is no clock", at, err)
	}
}

// records gives one record or error a read.
type records []any

func (r *records) Read(b []byte) (int, error) {
	if len(*r) == 0 {
		return 0, io.EOF
	}
	first := (*r)[0]
	*r = (*r)[1:]
	if err, ok := first.(error); ok {
		return 0, err
	}
	return copy(b, first.(string)), nil
}

func TestWatchForks(t *testing.T) {
	kernelLog := &records{
		"6,1,100,-;random: crng init done\n",
		"5,2,200,-;random: crng reseeded due to virtual machine fork\n",
		"13,3,300,-;random: crng reseeded due to virtual machine fork\n", // facility user
		&os.PathError{Op: "read", Path: "/dev/kmsg", Err: unix.EPIPE},
		"nonsense",
		"5,4,400,-;random: crng reseeded due to virtual machine fork\n SUBSYSTEM=acpi\n",
	}
	forks := make(chan struct{}, 10)
	if err := watchForks(t.Context(), kernelLog, forks); err != nil {
		t.Error(err)
	}
	if len(forks) != 3 { // two, and one that may have been overwritten
		t.Errorf("got %d forks, want 3", len(forks))
	}
	err := watchForks(t.Context(), &records{errors.New("input/output error")}, forks)
	if want := "read kernel log: input/output error"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	// Nobody listens any more.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := watchForks(ctx, &records{"5,2,200,-;" + forkMessage}, nil); err != nil {
		t.Errorf("got error %v at the end", err)
	}
}

func FuzzIsFork(f *testing.F) {
	f.Add("5,2,200,-;random: crng reseeded due to virtual machine fork\n")
	f.Add("13,2,200,-;crng reseeded due to virtual machine fork")
	f.Add(";;")
	f.Fuzz(func(t *testing.T, record string) {
		if isFork([]byte(record)) && !strings.Contains(record, forkMessage) {
			t.Errorf("%q is taken for the kernel's message", record)
		}
		if user := "13,1,1,-;" + record; isFork([]byte(user)) {
			t.Errorf("%q, of a process, is taken for the kernel's message", user)
		}
	})
}
