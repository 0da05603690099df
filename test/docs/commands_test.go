//go:build !vm

package docs

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/vm/rootfs"
)

// check is how it is known that a command of a page is right, besides that its
// own program accepts its flags.
type check struct {
	// run has it run, with stand-ins for the programs of a machine, when these
	// machines run.
	run   bool
	needs []string
	test  string // a test that does the same, mostly with a real machine
	bazel bool   // its verb, options and target, and the flags of that, are there
	other string // why it is only read
}

var (
	run   = check{run: true}
	bazel = check{bazel: true}
)

func runs(test string, needs ...string) check { return check{run: true, needs: needs, test: test} }

func test(name string) check { return check{test: name} }

func other(why string) check { return check{other: why} }

const (
	theirs   = "programs that are not ours"
	shell    = "the shell's own"
	terminal = "it needs a terminal"
	writes   = "it would write to this machine, which stands in for the guest"
)

// commands of all pages, as commandLines gives them.
var commands = map[string]check{
	"tools/bazel run //cmd/kindling -- run -- echo hello": bazel,
	"tools/bazel test //...":                              bazel,
	"tools/bazel build //system:bundle":                   bazel,

	// agent.md
	"kindling exec web -- ps":                                                                      test("TestAgent"),
	"kindling exec -it web -- sh":                                                                  other(terminal),
	"echo hello | kindling exec -i web -- sh -c 'cat > /tmp/greeting'":                             test("TestAgent"),
	"kindling exec -u nobody -w /tmp -e A=b --timeout 5s web -- id":                                test("TestAgentConformance"),
	"kindling stop -t 30 web db":                                                                   runs("TestShutdown", "web", "db"),
	"kindling cp report.txt web:/srv/":                                                             other(writes),
	"kindling cp web:/var/log - | tar -t":                                                          test("TestAgentConformance"),
	"kindling stat -o json web:/etc/passwd":                                                        runs("TestAgentConformance", "web"),
	"tools/bazel run //test/boot:boot_test -- -test.run='^$' -test.bench=Agent -test.benchtime=1x": bazel,
	"go test ./vm/agent -run TestCycles -cycles 10000":                                             bazel,

	// airgap.md
	"tools/bazel run //tools/mirror -- DIR":                                                        bazel,
	"tools/bazel run --//tools/mirror:urls //tools/mirror -- DIR":                                  bazel,
	"tools/bazel run //tools/mirror -- --verify DIR":                                               bazel,
	`cd DIR && jq -r '.files[] | .sha256 + " " + .path' manifest.json | sha256sum --check --quiet`: other(theirs),
	"export KINDLING_MIRROR=/absolute/path/of/DIR":                                                 other(shell),
	"tools/bazel test --config=airgap //...":                                                       bazel,

	// artifacts.md
	"tools/bazel run //tools/pin -- update ch-6.12.8-kernel-1.4-202602101 --arch x86_64":                                                                                 bazel,
	"tools/bazel run //tools/pin -- update ch-6.12.8-kernel-1.4-202602101 --arch x86_64 --from http://127.0.0.1:8000/vmlinux --allow-http-loopback --save ~/distdir/1.4": bazel,
	"tools/bazel build --config=hypeman --distdir=$HOME/distdir/1.4 //system:kernel_x86_64":                                                                              bazel,

	// benchmarks.md, boot.md
	"tools/bazel build //system:initrd_x86_64": bazel,
	"go run ./tools/bench -n 5 --peers --initrd bazel-bin/system/initrd_x86_64.cpio --json all.json --chart all.svg build edit install image boot agent": bazel,
	"tools/bazel run //tools/bench -- -n 5 boot agent":                                                                 bazel,
	"tools/bazel run //test/boot:boot_test -- -test.run='^$' -test.bench=FirstOutput -test.benchtime=5x":               bazel,
	"tools/bazel run //test/boot:boot_test -- -test.run='^$' -test.bench=TimeToApplication -test.benchtime=5x -test.v": bazel,

	"kindling run --timeline boot-timeline.svg -- sh -c 'echo hello; sleep 1'": run,

	// quickstart.md, running.md
	"alias kindling='tools/bazel run //cmd/kindling --'":            other(shell),
	"kindling run -- uname -r":                                      runs("TestExit"),
	"kindling run -- echo hello":                                    runs("TestExit"),
	"kindling run -e NAME=box -m 256 -- sh -c 'echo $NAME; exit 3'": runs("TestEnvironment"),
	"mkdir src":                 run,
	"echo hello > src/greeting": run,
	"kindling run -v ./src:/src -- cat /src/greeting":                                                                        runs("TestVolumes"),
	"kindling run -e NAME=box -v ./src:/src -v data.img:/data -- sh -c 'ls /src >/data/list'":                                runs("TestVolumes"),
	"kindling run -d --name web -p 8080:80 -- sh -c 'mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www'": runs("TestRunPublishes"),
	"curl http://127.0.0.1:8080/":                     other(theirs),
	"kindling ps":                                     runs("", "web"),
	"kindling ps -a":                                  runs("", "web"),
	"kindling cp web:/www/index.html .":               test("TestAgentConformance"),
	"kindling logs web":                               runs("", "web"),
	"kindling logs -f web":                            other("it goes on until the machine ends"),
	"kindling logs --serial web":                      runs("", "web"),
	"kindling inspect web":                            runs("", "web"),
	"kindling stop web":                               runs("TestShutdown", "web"),
	"docker save -o image.tar debian:12":              other(theirs),
	"kindling run ./image.tar -- cat /etc/os-release": runs("TestDebian"),
	"kindling run ./layout -- cat /etc/os-release":    run,
	"kindling run registry.example/team/web:1.2 -- cat /etc/os-release": run,
	"kindling install bazel-bin/system/bundle":                          run,
	"kindling ls":             run,
	"kindling resolve latest": run,
	"kindling paths latest":   run,
	"kindling doctor":         run,

	// registry.md
	"docker login registry.example":                                                                       other(theirs),
	"tools/bazel run //system:push -- registry.example/kindling/set:1.2":                                  bazel,
	"kindling push bazel-bin/system/bundle registry.example/kindling/set:1.2":                             run,
	`kindling pull --set "$ID" registry.example/kindling/set set`:                                         run,
	`kindling install --set "$ID" oci://registry.example/kindling/set`:                                    run,
	"crane manifest registry.example/kindling/set:1.2":                                                    other(theirs),
	"oras discover registry.example/kindling/set:1.2":                                                     other(theirs),
	"openssl genpkey -algorithm ed25519 -out key.pem":                                                     other(theirs),
	"openssl pkey -in key.pem -pubout -out key.pub.pem":                                                   other(theirs),
	"tools/bazel run //system:push -- --key key.pem registry.example/kindling/set:1.2":                    bazel,
	"jq -j .payload signature.dsse.json | base64 -d > payload":                                            other(theirs),
	"printf 'DSSEv1 28 application/vnd.in-toto+json %d ' $(stat -c %s payload) | cat - payload > message": other(theirs),
	"jq -j '.signatures[0].sig' signature.dsse.json | base64 -d > sig":                                    other(theirs),
	"openssl pkeyutl -verify -pubin -inkey key.pub.pem -rawin -in message -sigfile sig":                   other(theirs),
	`jq -r '.subject[] | .digest.sha256 + " " + .name' payload | sha256sum --check`:                       other(theirs),

	// remote-cache.md, whose server test/cache starts
	"apt install nginx-core gettext-base":                         other(theirs),
	"install -d -o www-data -g www-data -m 0700 /var/cache/bazel": other(theirs),
	"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=ci -keyout ci.key -out ci.pem":                   other(theirs),
	"install -m 0644 ci.pem /etc/nginx/bazel-writers.pem":                                                                                      other(theirs),
	"export LISTEN=443 DIRECTORY=/var/cache/bazel WRITERS=/etc/nginx/bazel-writers.pem":                                                        other(shell),
	"export CERTIFICATE=/etc/ssl/certs/cache.pem CERTIFICATE_KEY=/etc/ssl/private/cache.key":                                                   other(shell),
	"envsubst '$LISTEN $DIRECTORY $WRITERS $CERTIFICATE $CERTIFICATE_KEY' < docs/remote-cache.nginx.conf > /etc/nginx/conf.d/bazel-cache.conf": other(theirs),
	"nginx -t && systemctl reload nginx":                                                                                                test("TestRules"),
	"find /var/cache/bazel/ac -type f -mtime +14 -delete":                                                                               other(theirs),
	"find /var/cache/bazel/cas /var/cache/bazel/tmp -type f -mtime +15 -delete":                                                         other(theirs),
	"tools/bazel --output_base=$HOME/.cache/compare build --execution_log_json_file=$PWD/a.json //system:bundle":                        bazel,
	"tools/bazel run //tools/cachecheck -- a.json b.json":                                                                               bazel,
	"tools/bazel --output_base=$HOME/.cache/cached build --execution_log_json_file=$PWD/a.json //system:bundle":                         bazel,
	"tools/bazel --output_base=$HOME/.cache/clean build --noremote_accept_cached --execution_log_json_file=$PWD/b.json //system:bundle": bazel,

	// building.md
	"cd examples && ../tools/bazel build //:bundle": test("TestExample"),

	// running.md
	"kindling inspect web | jq -r '.hypervisor_commands[] | @sh'": other(theirs),
	"sudo ip tuntap add tap0 mode tap user $USER":                 other(theirs),
	"sudo ip addr add 192.168.7.1/24 dev tap0":                    other(theirs),
	"sudo ip link set tap0 up":                                    other(theirs),
	"kindling run --net tap,ifname=tap0,ip=192.168.7.2/24,gateway=192.168.7.1,dns=9.9.9.9 -- wget -O- http://192.168.7.1:8000/": other("it needs a device"),

	// snapshots.md, system.md
	`kindling install --set "$(cat instance/set-id)" bazel-bin/system/bundle`: run,
	"kindling snapshot web ./web-1":                                           test("TestRestore"),
	"kindling restore -d --name web-2 -p 8081:80 ./web-1":                     test("TestRestore"),
	"kindling pause web":                                                      test("TestRestore"),
	"kindling resume web":                                                     test("TestRestore"),
	"kindling gc --dry-run":                                                   run,
	`kindling gc --grace 0s --root "$(cat instance/set-id)"`:                  run,
	"go test -tags vm ./system -run '^$' -bench Install":                      bazel,
}

// TestCommands checks every block of code of every page, and every code span that
// is a command of ours.
func TestCommands(t *testing.T) {
	pages := readPages(t)
	kindling := filepath.Join(t.TempDir(), "kindling")
	build(t, kindling, "./cmd/kindling")
	seen := map[string]bool{}
	for _, page := range pages {
		for _, block := range page.blocks() {
			first, _, _ := strings.Cut(block.text, "\n")
			seen[first] = true
			for _, line := range commandLines(block.text) {
				seen[line] = true
			}
		}
	}
	for _, line := range slices.Concat(slices.Sorted(maps.Keys(commands)), slices.Sorted(maps.Keys(contents))) {
		if !seen[line] {
			t.Errorf("no page has %q", line)
		}
	}
	for _, page := range pages {
		t.Run(strings.ReplaceAll(page.name, "/", "_"), func(t *testing.T) {
			h := newHost(t, kindling)
			if prepare := prepared[page.name]; prepare != nil {
				prepare(t, h)
			}
			for _, block := range page.blocks() {
				block.check(t, h)
			}
			for _, line := range page.lines {
				for _, span := range spans(line) {
					if isOurs(strings.Fields(span)) {
						h.parse(t, span)
					}
				}
			}
		})
	}
}

func (b block) check(t *testing.T, h *host) {
	t.Helper()
	first, _, _ := strings.Cut(b.text, "\n")
	if content, found := contents[first]; found {
		content(t, h, b)
		return
	}
	for _, line := range commandLines(b.text) {
		check, found := commands[line]
		if !found {
			t.Errorf("%s:%d: no check has %q; add one to commands or, if the block is no shell, one of %q to contents",
				b.page, b.line, line, first)
			continue
		}
		check.do(t, h, line)
	}
}

func (c check) do(t *testing.T, h *host, line string) {
	t.Helper()
	h.parse(t, line)
	if c.test != "" && !hasTest(t, c.test) {
		t.Errorf("%s: there is no test %s", line, c.test)
	}
	if c.bazel && !slices.ContainsFunc(simpleCommands(line), isOurs) {
		t.Errorf("%s: there is nothing to look up", line)
	}
	if !c.run {
		return
	}
	for _, name := range c.needs {
		if !slices.Contains(strings.Fields(h.run(t, "kindling ps -o id")), name) {
			h.run(t, "kindling run -d --name "+name+" -- sleep 1000")
		}
	}
	h.run(t, line)
}

func isOurs(words []string) bool {
	return len(words) > 0 && slices.Contains([]string{"kindling", "tools/bazel", "go"}, words[0])
}

func install(t *testing.T, h *host) (id string) {
	t.Helper()
	return h.run(t, "kindling install --progress quiet bazel-bin/system/bundle")
}

// prepared has what pages take for granted.
var prepared = map[string]func(*testing.T, *host){
	"docs/registry.md": func(t *testing.T, h *host) { t.Setenv("ID", strings.TrimSpace(install(t, h))) },
	"docs/running.md": func(t *testing.T, h *host) {
		writeFile(t, filepath.Join(h.dir, "src/greeting"), nil)
		if err := rootfs.WriteOverlay(filepath.Join(h.dir, "data.img"), 64<<20); err != nil {
			t.Fatal(err)
		}
	},
	"docs/snapshots.md": func(t *testing.T, h *host) {
		writeFile(t, filepath.Join(h.dir, "instance/set-id"), []byte(install(t, h)))
	},
	"docs/troubleshooting.md": func(t *testing.T, h *host) { install(t, h) },
}

// parse has the programs of a command line, as far as they are ours, look at its
// flags.
func (h *host) parse(t *testing.T, line string) {
	t.Helper()
	for _, words := range simpleCommands(line) {
		switch slices.Concat(words, []string{""})[0] {
		case "kindling":
			h.parseKindling(t, words[1:])
		case "tools/bazel":
			h.parseBazel(t, words[1:])
		case "go":
			h.parseGo(t, words[1:])
		}
	}
}

// parseKindling has kindling parse a command line up to --, and print its help.
func (h *host) parseKindling(t *testing.T, words []string) {
	t.Helper()
	words = slices.Clone(beforeDash(words))
	if len(words) > 0 && words[0] == "help" {
		words = words[1:]
	}
	cmd := exec.Command("kindling", append(words, "--help")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("kindling %q: %v\n%s", words, err, out)
	}
	// Of a verb that it does not have, kindling gives the help that is its own.
	if len(words) > 0 && words[0] != "" && !strings.HasPrefix(words[0], "-") && strings.HasPrefix(string(out), "Run OCI images") {
		t.Errorf("kindling has no verb %s", words[0])
	}
}
