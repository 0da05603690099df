package systemd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

func newImage(t *testing.T, things ...string) (image string, root *inroot.Root) {
	t.Helper()
	base := imagetest.RealPath(t, t.TempDir())
	image = filepath.Join(base, "image")
	imagetest.Place(t, base, "outside/", "image/")
	imagetest.Place(t, image, things...)
	root, err := inroot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string(nil), imagetest.Tree(t, filepath.Join(base, "outside"))); diff != "" {
			t.Errorf("made outside of the image (-want +got):\n%s", diff)
		}
	})
	return image, root
}

func checkFile(t *testing.T, file string, mode os.FileMode, want string) {
	t.Helper()
	if info, err := os.Lstat(file); err != nil || info.Mode() != mode {
		t.Errorf("%s: got %v, %v, want a regular file with mode %v", file, info, err, mode)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

const wantUnit = `[Unit]
Description=Hypeman Guest Agent

[Service]
Type=simple
ExecStart=/opt/hypeman/guest-agent
EnvironmentFile=-/etc/hypeman/env
Restart=always
RestartSec=3
StandardOutput=journal
StandardError=journal

[Install]
WantedBy=multi-user.target
`

func TestInstallAgent(t *testing.T) {
	tests := []struct {
		name  string
		image []string
	}{
		{"empty image", nil},
		{"masked", []string{"etc/systemd/system/", "etc/systemd/system/hypeman-agent.service -> /dev/null"}},
		{"links out", []string{"etc/hypeman/", "etc/hypeman/env -> ../../../outside/made", "etc/systemd/system/multi-user.target.wants/", "etc/systemd/system/multi-user.target.wants/hypeman-agent.service -> /outside/made"}},
		{"file that all can read", []string{"etc/hypeman/", "etc/hypeman/env"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			image, root := newImage(t, test.image...)
			for _, environ := range [][]string{{"A=old"}, {"A=it's", "PATH=/bin:/usr/bin"}} {
				if err := InstallAgent(root, environ); err != nil {
					t.Fatal(err)
				}
			}
			checkFile(t, filepath.Join(image, "etc/hypeman/env"), 0o600, "A='it'\"'\"'s'\nPATH=/bin:/usr/bin\n")
			checkFile(t, filepath.Join(image, "etc/systemd/system/hypeman-agent.service"), 0o644, wantUnit)
			wants := filepath.Join(image, "etc/systemd/system/multi-user.target.wants/hypeman-agent.service")
			if got, err := os.Readlink(wants); got != "../hypeman-agent.service" || err != nil {
				t.Errorf("link = %q, %v", got, err)
			}

			for range 2 {
				if err := RemoveAgent(root); err != nil {
					t.Error(err)
				}
			}
			want := []string{"etc d---------", "etc/hypeman d---------", "etc/systemd d---------", "etc/systemd/system d---------", "etc/systemd/system/multi-user.target.wants d---------"}
			if diff := cmp.Diff(want, imagetest.Tree(t, image)); diff != "" {
				t.Errorf("after removal (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInstallAgentFails(t *testing.T) {
	image, root := newImage(t, "etc/", "etc/systemd")
	want := "write /etc/systemd/system/hypeman-agent.service in the image: open /etc/systemd in the image: not a directory\n" +
		"link /etc/systemd/system/multi-user.target.wants/hypeman-agent.service in the image: open /etc/systemd in the image: not a directory"
	if err := InstallAgent(root, []string{"A=b"}); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	checkFile(t, filepath.Join(image, "etc/hypeman/env"), 0o600, "A=b\n")
}

func TestInstallShutdown(t *testing.T) {
	image, root := newImage(t)
	for range 2 {
		if err := InstallShutdown(root, []byte("program")); err != nil {
			t.Error(err)
		}
	}
	checkFile(t, filepath.Join(image, "run/initramfs/shutdown"), 0o755, "program")
}

func TestEnd(t *testing.T) {
	tests := []struct {
		args []string
		want int
	}{
		{[]string{"/shutdown", "poweroff", "--log-level", "6"}, unix.LINUX_REBOOT_CMD_POWER_OFF},
		{[]string{"/shutdown", "reboot", "--timeout", "90000000us"}, unix.LINUX_REBOOT_CMD_RESTART},
		{[]string{"/shutdown", "halt"}, unix.LINUX_REBOOT_CMD_POWER_OFF},
		{[]string{"/shutdown", "kexec"}, unix.LINUX_REBOOT_CMD_POWER_OFF},
		{[]string{"/shutdown"}, unix.LINUX_REBOOT_CMD_POWER_OFF},
		{nil, unix.LINUX_REBOOT_CMD_POWER_OFF},
	}
	for _, test := range tests {
		outcome, command := End(test.args)
		if command != test.want || outcome.String() != `HYPEMAN-EXIT code=0 message="success"` {
			t.Errorf("%q: got %v, %#x, want %#x", test.args, outcome, command, test.want)
		}
	}
}

// handOverEnv tells the test binary to hand over.
const handOverEnv = "SYSTEMD_TEST_HAND_OVER"

func TestHandOver(t *testing.T) {
	if os.Getenv(handOverEnv) != "" {
		// The new program is this one, with another test.
		t.Fatal(HandOver([]string{"/proc/self/exe", "-test.run=^TestHandedOver$", "-test.v"}, []string{"A=b c"}))
	}
	self := exec.Command("/proc/self/exe", "-test.run=^TestHandOver$")
	self.Env = append(os.Environ(), handOverEnv+"=1")
	output, err := self.CombinedOutput()
	if want := fmt.Sprintf(`pid %d env ["A=b c"]`, self.Process.Pid); err != nil || !strings.Contains(string(output), want) {
		t.Errorf("got %v, %s, want %s", err, output, want)
	}
	want := "execute /nowhere/init: no such file or directory"
	if err := HandOver([]string{"/nowhere/init"}, nil); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if err := HandOver([]string{"nowhere-init"}, []string{"PATH=/bin"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got error %v, want that of no such file", err)
	}
}

// TestHandedOver tells what the program is started with.
func TestHandedOver(t *testing.T) {
	t.Logf("pid %d env %q", os.Getpid(), os.Environ())
}

func TestQuote(t *testing.T) {
	tests := []struct{ value, want string }{
		{"", "''"},
		{"plain", "plain"},
		{"/usr/bin:/bin", "/usr/bin:/bin"},
		{"a@b%c+d=e:f,g.h/i_j-k", "a@b%c+d=e:f,g.h/i_j-k"},
		{"two words", "'two words'"},
		{"it's", `'it'"'"'s'`},
		{"'", `''"'"''`},
		{`a\b"c$d`, `'a\b"c$d'`},
		{"line\nline", "'line\nline'"},
		{"#", "'#'"},
		{"~", "'~'"},
		{"caf\u00e9", "'caf\u00e9'"},
		{"[`{", "'[`{'"},
	}
	for _, test := range tests {
		if got := quote(test.value); got != test.want {
			t.Errorf("%q: got %s, want %s", test.value, got, test.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got, err := environment([]string{"A=1", "_b2=x=y", "EMPTY=", "2A=x", "A-B=x", "A\nB=x", "=x", "BAD=\xff", "NUL=a\x00b", "Z=1"})
	if diff := cmp.Diff("A=1\n_b2=x=y\nEMPTY=''\nZ=1\n", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var want []string
	for _, key := range []string{`"2A"`, `"A-B"`, `"A\nB"`, `""`, `"BAD"`, `"NUL"`} {
		want = append(want, "variable "+key+" cannot be in /etc/hypeman/env")
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got error %v, want %s", err, strings.Join(want, "\n"))
	}
}

// FuzzQuote reads values back as a shell and as systemd's env-file.c do.
func FuzzQuote(f *testing.F) {
	for _, value := range []string{"", "a b", "it's", `\"$`, "\n#;", "''"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			return
		}
		content, err := environment([]string{"KEY=" + value, "NEXT=1"})
		if err != nil {
			t.Fatal(err)
		}
		rest, found := strings.CutPrefix(content, "KEY=")
		if !found {
			t.Fatalf("%q has another start", content)
		}
		var got strings.Builder
		var quoted byte
		for i := 0; ; i++ {
			char := rest[i]
			switch {
			case quoted == 0 && char == '\n':
				if got.String() != value || rest[i+1:] != "NEXT=1\n" {
					t.Errorf("%q is read as %q with %q behind", content, got.String(), rest[i+1:])
				}
				return
			case quoted == 0 && (char == '\'' || char == '"'):
				quoted = char
			case quoted != 0 && char == quoted:
				quoted = 0
			case quoted == 0 && strings.IndexByte(" \t\\$`#;&|<>*?[]{}()!~", char) >= 0:
				t.Fatalf("%q has %q outside of quotes", content, char)
			default:
				got.WriteByte(char)
			}
		}
	})
}
