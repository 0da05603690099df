package timeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

// stopwatch is a clock that a test sets.
type stopwatch struct{ at time.Duration }

func (s *stopwatch) now() time.Time { return time.Unix(0, 0).Add(s.at) }

// replay records a run again. Each line of the script is something that
// happened: microseconds since the start, what it was, and its text, quoted.
func replay(t testing.TB, script string) *Recorder {
	t.Helper()
	clock := &stopwatch{}
	r := NewRecorder(clock.now)
	end := func() {}
	lines := bufio.NewScanner(strings.NewReader(script))
	for lines.Scan() {
		var us int64
		var kind, text string
		if _, err := fmt.Sscanf(lines.Text(), "%d %s %q", &us, &kind, &text); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		clock.at = time.Duration(us) * time.Microsecond
		switch kind {
		case "begin":
			end = r.Begin(text)
		case "hypervisor":
			end = r.BeginHypervisor()
		case "end":
			end()
		case "serial":
			if n, err := r.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatalf("write %q: got %d, %v", text, n, err)
			}
		case "ended":
			r.HypervisorEnded()
		default:
			t.Fatalf("%q happens", kind)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

// recorded is a real run, with emulation: kindling run -- sh -c 'echo hello; sleep 1'.
func recorded(t testing.TB) *Timeline {
	t.Helper()
	script, err := os.ReadFile("testdata/run.txt")
	if err != nil {
		t.Fatal(err)
	}
	return replay(t, string(script)).Timeline("base system on x86_64 by tcg, 512 MiB, CPUs: 1")
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"run.svg", "run.json"} {
		got := filepath.Join(t.TempDir(), name)
		if err := recorded(t).WriteFile(got); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(got)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(data)); diff != "" {
			t.Errorf("(-%s +got; go test ./vm/timeline -update writes it):\n%s", golden, diff)
		}
	}
}

// Parts of a console's output, and of a run.
const (
	launched = "100 hypervisor \"\"\n200 end \"\"\n"
	record   = `2026-02-13T15:26:27Z [INFO] [hypeman-init:boot] KINDLING-BOOT ready=1000 one=100 two=300! agent=50` + "\r\n"
	program  = "2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=2026-02-13T15:26:27.1Z mode=exec\r\n"
	ready    = "2026/02/13 15:26:27 [guest-agent] HYPEMAN-AGENT-READY ts=2026-02-13T15:26:27.2Z\r\n"
	exit     = "2026-02-13T15:26:28Z [INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=0 message=\"success\"\r\n"
	runInit  = "[    0.000400] Run /init as init process\r\n"
)

func serial(us int, text string) string { return fmt.Sprintf("%d serial %q\n", us, text) }

func us(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func TestTimeline(t *testing.T) {
	start := Span{Hypervisor, hypervisorStart, us(100), us(100), HostClock, false}
	load := Span{Hypervisor, kernelLoad, us(200), us(800), ConsoleClock, false}
	steps := []Span{
		{Init, "one", us(1550), us(100), KernelClock, false},
		{Init, "two", us(1650), us(300), KernelClock, true},
		{Init, "agent", us(1950), us(50), KernelClock, false},
	}
	boot := Span{Kernel, kernelAndInit, us(1000), us(550), KernelClock, false}
	launch := Span{Init, initLaunch, us(2000), us(100), ConsoleClock, false}
	join := func(parts ...any) (all []Span) {
		for _, part := range parts {
			switch part := part.(type) {
			case Span:
				all = append(all, part)
			case []Span:
				all = append(all, part...)
			}
		}
		return all
	}
	tests := []struct {
		name, script string
		want         Timeline
	}{
		{"nothing", "", Timeline{}},
		{"host", "5 begin \"image\"\n9 end \"\"\n", Timeline{
			Spans: []Span{{Host, "image", us(5), us(4), HostClock, false}}, End: us(9),
		}},
		{"long name of a stage", "5 begin \"aaaaaaaaaabbbbbbbbbbc\"\n9 end \"\"\n", Timeline{
			Spans: []Span{{Host, "aaaaaaaaaabbbbbbb...", us(5), us(4), HostClock, false}}, End: us(9),
		}},
		{"all", launched + serial(2000, record) + serial(2100, program) + serial(2200, "hi\r\n") + serial(2300, ready) +
			serial(2500, exit) + serial(2600, "[    0.1] reboot: Power down\r\n") + "2700 ended \"\"\n", Timeline{
			Spans: join(start, load, Span{Hypervisor, powerOff, us(2500), us(200), ConsoleClock, false}, boot, steps, launch,
				Span{Agent, agentStart, us(1950), us(350), ConsoleClock, false},
				Span{App, application, us(2100), us(400), ConsoleClock, false}),
			Marks: []Mark{{Agent, agentReady, us(2300)}, {App, firstOutput, us(2200)}}, End: us(2700),
		}},
		{"byte by byte", launched + serial(2000, record[:60]) + serial(2050, record[60:]) + serial(2100, program), Timeline{
			Spans: join(start, load, boot, steps, launch, Span{App, application, us(2100), 0, ConsoleClock, false}),
			Notes: []string{"the console has no outcome: the application is drawn to the machine's end"}, End: us(2100),
		}},
		{"log of the kernel", launched + serial(1500, "[    0.000100] Linux\r\n"+runInit) + serial(2000, record), Timeline{
			Spans: join(start, Span{Hypervisor, kernelLoad, us(200), us(900), ConsoleClock, false},
				Span{Kernel, kernelBoot, us(1100), us(400), KernelClock, false},
				Span{Init, initProgram, us(1500), us(50), ConsoleClock, false}, steps), End: us(2000),
		}},
		{"kernel alone", launched + serial(1500, "[    0.000100][    T1] Linux\n"), Timeline{
			Spans: join(start, Span{Hypervisor, kernelLoad, us(200), us(1200), ConsoleClock, false}), End: us(1500),
		}},
		{"kernel within the start of the hypervisor", "100 hypervisor \"\"\n600 end \"\"\n" + serial(900, runInit), Timeline{
			Spans: join(Span{Hypervisor, hypervisorStart, us(100), us(400), HostClock, false},
				Span{Hypervisor, kernelLoad, us(500), 0, ConsoleClock, false},
				Span{Kernel, kernelBoot, us(500), us(400), KernelClock, false}), End: us(900),
		}},
		{"clock that is ahead", launched + serial(1050, record), Timeline{
			Spans: join(start), End: us(1050),
			Notes: []string{"kernel and init are not drawn: by the guest's clock, its kernel started before the hypervisor"},
		}},
		{"record that makes no sense", launched + serial(2000, "KINDLING-BOOT ready=1 one=2\n"+record), Timeline{
			Spans: join(start), End: us(2000),
			Notes: []string{"init's steps are not drawn: read record of the boot: steps take longer than the boot, 1\u00b5s"},
		}},
		{"application that lies", launched + serial(2000, record) + serial(2100, program+"[    0.002000] Linux\r\n"+record+ready+exit) +
			serial(2500, program+exit), Timeline{
			Spans: join(start, load, boot, steps, launch, Span{Agent, agentStart, us(1950), us(150), ConsoleClock, false},
				Span{App, application, us(2100), us(400), ConsoleClock, false}),
			Marks: []Mark{{Agent, agentReady, us(2100)}, {App, firstOutput, us(2100)}}, End: us(2500),
		}},
		{"killed, with output left", launched + serial(2000, record) + "2100 ended \"\"\n" + serial(2200, program), Timeline{
			Spans: join(start, load, boot, steps), End: us(2100),
		}},
		{"line without an end", launched + serial(2000, record+strings.Repeat("x", 2*maxLine)+runInit) + serial(2100, program), Timeline{
			Spans: join(start, load, boot, steps, launch, Span{App, application, us(2100), 0, ConsoleClock, false}),
			Notes: []string{"the console has no outcome: the application is drawn to the machine's end"}, End: us(2100),
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := replay(t, test.script).Timeline("")
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			requireDrawn(t, got)
		})
	}
}

func TestParseRecord(t *testing.T) {
	many := "ready=1"
	for i := range maxSteps + 1 {
		many += fmt.Sprintf(" s%d=0", i)
	}
	for text, want := range map[string]string{
		"":                                   "it has 0 fields, want 1 to 65",
		many:                                 "it has 66 fields, want 1 to 65",
		"one=1":                              `first field "one=1", want ready`,
		"ready=1!":                           `first field "ready=1!", want ready`,
		"ready=-1":                           `field "ready=-1", want NAME=MICROSECONDS of at most 24h0m0s`,
		"ready=86400000001":                  `field "ready=86400000001", want NAME=MICROSECONDS of at most 24h0m0s`,
		"ready=1 one":                        `field "one", want NAME=MICROSECONDS of at most 24h0m0s`,
		"ready=1 one=1!!":                    `field "one=1!!", want NAME=MICROSECONDS of at most 24h0m0s`,
		"ready=1 =1":                         `step "", want 1 to 20 letters, digits and -`,
		"ready=1 <b>=1":                      `step "<b>", want 1 to 20 letters, digits and -`,
		"ready=9 one=1 one=1":                `step "one" comes twice`,
		"ready=9 one=5 two=5":                "steps take longer than the boot, 9\u00b5s",
		"ready=1 one=" + many[8:60]:          `field "one=s0=0", want NAME=MICROSECONDS of at most 24h0m0s`,
		"ready=1 " + strings.Repeat("x", 99): `field "xxxxxxxxxxxxxxxxx...", want NAME=MICROSECONDS of at most 24h0m0s`,
	} {
		_, err := parseRecord(text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestTrace(t *testing.T) {
	data, err := recorded(t).Trace()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		TraceEvents []struct {
			Name, Ph string
			TS, Dur  *int64
			PID, TID int
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	ends := map[int]int64{}
	for _, e := range got.TraceEvents {
		switch {
		case e.PID != 1 || (e.Ph == "X") != (e.Dur != nil) || (e.Ph == "M") != (e.TS == nil):
			t.Errorf("got %+v, which is no event", e)
		case e.Ph == "X" && (*e.Dur < 0 || *e.TS < ends[e.TID]):
			t.Errorf("%s begins at %d, within what ends at %d", e.Name, *e.TS, ends[e.TID])
		case e.Ph == "X":
			ends[e.TID] = *e.TS + *e.Dur
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"run", "run.png", "run.svg.gz", "run.SVG", ""} {
		want := fmt.Sprintf("file is %q, want a name that ends in .svg or .json", name)
		if err := CheckFile(name); err == nil || err.Error() != want {
			t.Errorf("check %q: got %v, want %s", name, err, want)
		}
		if err := recorded(t).WriteFile(name); err == nil || err.Error() != "write timeline: "+want {
			t.Errorf("write %q: got %v, want %s", name, err, want)
		}
	}
	if err := recorded(t).WriteFile(filepath.Join(dir, "none", "run.svg")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder that is not there: got %v, want %v", err, fs.ErrNotExist)
	}
	name := filepath.Join(dir, "run.svg")
	for range 2 {
		if err := recorded(t).WriteFile(name); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v in the folder, want run.svg alone", entries, err)
	}
}

// FuzzConsole has a guest say anything, in pieces that come at any times.
func FuzzConsole(f *testing.F) {
	f.Add([]byte(record+program+"hi\r\n"+ready+exit), uint16(7), uint16(100))
	f.Add([]byte("[    0.000100] Linux\r\n"+runInit+record+program+exit+exit), uint16(1000), uint16(65535))
	f.Add([]byte("KINDLING-BOOT ready=86400000000 a=86400000000!\n"+program), uint16(1), uint16(3))
	f.Fuzz(func(t *testing.T, output []byte, size, step uint16) {
		clock := &stopwatch{}
		r := NewRecorder(clock.now)
		launched := r.BeginHypervisor()
		clock.at += time.Duration(step)
		launched()
		// Long enough for any clock of the guest's.
		clock.at += time.Duration(step) << 32
		for rest := output; len(rest) > 0; {
			piece := rest[:min(len(rest), int(size)+1)]
			if n, err := r.Write(bytes.Clone(piece)); n != len(piece) || err != nil {
				t.Fatalf("got %d, %v, want %d", n, err, len(piece))
			}
			rest = rest[len(piece):]
			clock.at += time.Duration(step) * time.Microsecond
		}
		r.HypervisorEnded()
		got := r.Timeline(string(output))
		for _, s := range got.Spans {
			if s.Start < 0 || s.Length < 0 || s.end() > got.End {
				t.Errorf("got %+v in a run that took %v", s, got.End)
			}
		}
		if _, err := got.Trace(); err != nil {
			t.Error(err)
		}
		requireDrawn(t, got)
	})
}
