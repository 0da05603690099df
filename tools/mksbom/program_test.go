package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadProgram(t *testing.T) {
	const main = "path\texample.org/m\nmod\texample.org/m\t(devel)\t\n"
	sys := module{"golang.org/x/sys", "v0.49.0", sumA, "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f"}
	sums := map[string]string{"golang.org/x/sys@v0.49.0": sumA}
	tests := []struct {
		name, inside, given string
		want                []module
	}{
		{"no module", main, "", nil},
		{"inside", main + "dep\tgolang.org/x/sys\tv0.49.0\t" + sumA + "\n", "", []module{sys}},
		{"inside without sum", main + "dep\tgolang.org/x/sys\tv0.49.0\t\n", "", []module{sys}},
		{"given", "", main + "dep\tgolang.org/x/sys\tv0.49.0\t\n", []module{sys}},
		{"replaced", main + "dep\texample.org/sys\tv1.0.0\n=>\tgolang.org/x/sys\tv0.49.0\t" + sumA + "\n", "", []module{sys}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{t, t.TempDir()}
			binary, info := goProgram("go1.26.8", test.inside), ""
			if test.given != "" {
				info = f.write("info", test.given)
			}
			got, err := readProgram("init", f.write("init", string(binary)), info, sums)
			if err != nil {
				t.Fatal(err)
			}
			want := &program{dest: "init", path: "example.org/m", main: "example.org/m", goVersion: "1.26.8",
				sha256: sha256Of(binary), modules: test.want}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(program{}, module{})); diff != "" {
				t.Errorf("program (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadProgramRejects(t *testing.T) {
	const (
		main = "path\texample.org/m/cmd\nmod\texample.org/m\t(devel)\t\n"
		form = "want lines path, mod and dep of build information, in this order and nothing else"
	)
	tests := []struct{ name, version, inside, given, want string }{
		{"nothing known", "go1.26.8", "", "", "it names no package and no module, and there is no --buildinfo for it"},
		{"known twice", "go1.26.8", main, main, "it has build information, and INFO too"},
		{"not a Go program", "", "", main, "could not read Go build info from FILE: not a Go executable"},
		{"unreleased Go", "devel go1.27-0123", main, "", `go version "devel go1.27-0123" is not that of a release`},
		{"other module", "go1.26.8", "path\texample.org/more\nmod\texample.org/m\t(devel)\t\n", "",
			`package "example.org/more" is not in module "example.org/m"`},
		{"no package", "go1.26.8", "", "mod\texample.org/m\t(devel)\t\n", "read INFO: " + form},
		{"no main module", "go1.26.8", "", "path\texample.org/m\n", "read INFO: " + form},
		{"unknown line", "go1.26.8", "", main + "deps\ta\tv1.0.0\t\n", "read INFO: " + form},
		{"cut short", "go1.26.8", "", main + "dep\ta\tv1.0.0\t", "read INFO: " + form},
		{"no version", "go1.26.8", "", main + "dep\ta\n", "read INFO: could not parse Go build info: line 3: expected 2 or 3 columns; got 1"},
		{"module twice", "go1.26.8", "", main + "dep\ta\tv1.0.0\t" + sumA + "\ndep\ta\tv1.1.0\t" + sumA + "\n", "module a stands twice"},
		{"unpublished module", "go1.26.8", main + "dep\ta\t(devel)\t\n", "",
			`module a: version "(devel)" is not that of a published module`},
		{"replaced by a folder", "go1.26.8", main + "dep\ta\tv1.0.0\n=>\t../a\t\t\n", "",
			`module a: version "" is not that of a published module`},
		{"unknown sum", "go1.26.8", "", main + "dep\ta\tv1.0.0\t\n", "module a: version v1.0.0 has no sum, and go.sum has none either"},
		{"other sum", "go1.26.8", "", main + "dep\tknown\tv1.0.0\t" + sumA + "\n",
			"module known: version v1.0.0 has sum " + sumA + ", but " + sumB + " in go.sum"},
		{"other kind of sum", "go1.26.8", "", main + "dep\ta\tv1.0.0\th2:" + sumA[3:] + "\n",
			`module a: version v1.0.0 has sum "h2:` + sumA[3:] + `", want h1: and a SHA-256 in base64`},
		{"short sum", "go1.26.8", "", main + "dep\ta\tv1.0.0\th1:AAAA\n",
			`module a: version v1.0.0 has sum "h1:AAAA", want h1: and a SHA-256 in base64`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &fixture{t, t.TempDir()}
			info := ""
			if test.given != "" {
				info = f.write("info", test.given)
			}
			file := f.write("init", string(goProgram(test.version, test.inside)))
			_, err := readProgram("init", file, info, map[string]string{"known@v1.0.0": sumB})
			want := strings.NewReplacer("INFO", info, "FILE", file).Replace(test.want)
			if err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant %s", err, want)
			}
		})
	}
}

func TestReadSums(t *testing.T) {
	f := &fixture{t, t.TempDir()}
	got, err := readSums(f.write("go.sum", "a v1.0.0 "+sumA+"\na v1.0.0/go.mod "+sumB+"\na v1.0.0 "+sumA+"\n"))
	if diff := cmp.Diff(map[string]string{"a@v1.0.0": sumA, "a@v1.0.0/go.mod": sumB}, got); err != nil || diff != "" {
		t.Errorf("error %v, sums (-want +got):\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"a v1.0.0\n":                   ", line 1: want a module, a version and a sum",
		"a v1 x\n\n":                   ", line 2: want a module, a version and a sum",
		"a v1 x":                       ", line 1: want a module, a version and a sum",
		"a v1.0.0 x\na v1.0.0 y\n":     ", line 2: a@v1.0.0 has another sum above",
		"a v1.0.0 x\nb v1.0.0 y z w\n": ", line 2: want a module, a version and a sum",
	} {
		if _, err := readSums(f.write("go.sum", text)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: got error %v, want %s", text, err, want)
		}
	}
}
