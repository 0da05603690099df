package lock

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRejectsSyntax(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", "", "parse lock: line 1: unexpected end of JSON input"},
		{"cut", canonical[:200], "parse lock: line 13: unexpected end of JSON input"},
		{"trailing data", canonical + "{}", "parse lock: line 80: invalid character '{' after top-level value"},
		{"comma at the end", strings.Replace(canonical, "\"size\": 1,", "\"size\": 1,,", 1), "parse lock: line 17: invalid character ',' looking for beginning of object key string"},
		{"no UTF-8", "{\"version\": \"\xff\"}", "parse lock: it is not UTF-8"},
		{"deep", strings.Repeat("[", 20000) + strings.Repeat("]", 20000), "parse lock: line 1: invalid character '[' exceeded max depth"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse([]byte(test.in)); err == nil || err.Error() != test.want {
				t.Errorf("got error %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	const (
		first = "artifact 0 (busybox aarch64): "
		last  = "artifact 5 (linux x86_64): "
		image = `"https://one.example/vmlinux"`
	)
	tests := []struct {
		name, old, new string
		want           []string
	}{
		{"no object", canonical, "[]", []string{"lock: it is a list, want an object"}},
		{"nothing in it", canonical, "{}", []string{"lock: version is missing", "lock: profiles is missing", "lock: artifacts is missing"}},
		{"version", `"version": 1,`, `"version": 2, "x": 1,`, []string{"lock: version is 2, want 1"}},
		{"version as text", `"version": 1,`, `"version": "1",`, []string{`lock: version is "1", want 1`}},
		{"no version", `"version": 1,`, ``, []string{"lock: version is missing"}},
		{"unknown key", `"version": 1,`, `"version": 1, "Version": 1,`, []string{`lock: key "Version" is unknown`}},
		{"repeated key", `"version": 1,`, `"version": 1, "version": 1,`, []string{`lock: key "version" stands twice`}},
		{"profiles", canonical, `{"version": 1, "profiles": [], "artifacts": []}`, []string{"lock: profiles is a list, want an object"}},
		{"artifacts", canonical, `{"version": 1, "profiles": {"a": {"base": "b", "kernel": "k"}}, "artifacts": {}}`, []string{"lock: artifacts is an object, want a list"}},
		{"artifact", canonical, `{"version": 1, "profiles": {}, "artifacts": [null, 3, {}]}`, []string{
			"artifact 0 (?): it is null, want an object",
			"artifact 1 (?): it is 3, want an object",
			"lock: profiles is empty",
			"artifact 2 (?): name is missing",
			"artifact 2 (?): arch is missing",
			"artifact 2 (?): kind is missing",
			"artifact 2 (?): version is missing",
			"artifact 2 (?): license is missing",
			"artifact 2 (?): want either urls, or package and path",
		}},

		{"profile", `{
      "base": "busybox",
      "kernel": "linux"
    }`, `true`, []string{"profile debian: it is true, want an object"}},
		{"profile twice", `"debian": {`, `"debian": {"base": "busybox", "kernel": "linux"}, "debian": {`, []string{"profile debian: it stands twice"}},
		{"order of profiles", `"debian": {`, `"x": {"base": "busybox", "kernel": "linux"}, "debian": {`,
			[]string{"profile debian: want profiles in the order of their names"}},
		{"key of profile", `"base": "busybox",`, `"base": "busybox", "headers": "x",`, []string{`profile debian: key "headers" is unknown`}},
		{"key of profile twice", `"base": "busybox",`, `"base": "busybox", "base": "busybox",`, []string{`profile debian: key "base" stands twice`}},
		{"base of profile", `"base": "busybox",`, ``, []string{"profile debian: base is missing"}},
		{"kernel of profile", `"kernel": "linux"`, `"kernel": ["linux"]`, []string{"profile debian: kernel is a list, want a string"}},
		{"artifact of profile", `"kernel": "linux"`, `"kernel": "linus"`, []string{
			`profile debian: kernel is "linus", which is no kernel for aarch64`,
			`profile debian: kernel is "linus", which is no kernel for x86_64`,
		}},
		{"kind of profile", `"base": "busybox"`, `"base": "linux"`, []string{
			`profile debian: base is "linux", which is no base for aarch64`,
			`profile debian: base is "linux", which is no base for x86_64`,
		}},
		{"name of profile", `"debian"`, `"DEBIAN\n"`, []string{`profile "DEBIAN\n": want a name of lower-case letters, digits, . and -`}},

		{"misspelt field", `"license": "GPL-2.0-only",`, `"licence": "GPL-2.0-only",`, []string{first + `key "licence" is unknown`, first + "license is missing"}},
		{"field twice", `"size": 1,`, `"size": 1, "size": 1,`, []string{first + `key "size" stands twice`}},
		{"number for text", `"version": "1:1.35.0-4+b1",`, `"version": 1,`, []string{first + "version is 1, want a string"}},
		{"empty version", `"version": "1:1.35.0-4+b1",`, `"version": "",`, []string{first + "version is empty"}},
		{"license", `"license": "GPL-2.0-only",`, `"license": " ",`, []string{first + `license is " ", want printable ASCII with no space around it`}},
		{"version in half", `"version": "1:1.35.0-4+b1",`, `"version": "\ud800",`, []string{first + `version is "\ufffd", want printable ASCII with no space around it`}},
		{"name", `"name": "headers"`, `"name": "Headers/."`, []string{
			`artifact 2 (Headers/. all): name is "Headers/.", want only lower-case letters, digits, . and -`,
			`artifact 2 (Headers/. all): want artifacts in the order of name, then arch`,
			last + `headers has "headers", which are no headers for x86_64 or all`,
		}},
		{"arch", `"name": "headers-own",
      "arch": "x86_64"`, `"name": "headers-own",
      "arch": "amd64"`, []string{
			`artifact 3 (headers-own amd64): arch is "amd64", want x86_64, aarch64 or, of headers, all`,
			last + `headers has "headers-own", which are no headers for x86_64 or all`,
		}},
		{"base for all", `"arch": "aarch64",`, `"arch": "all",`, []string{
			"artifact 0 (busybox all): arch is all, which only headers may have",
			`profile debian: base is "busybox", which is no base for aarch64`,
		}},
		{"kind", `"kind": "base",`, `"kind": "bass",`, []string{
			first + `kind is "bass", want base, headers, kernel or package`,
			`profile debian: base is "busybox", which is no base for aarch64`,
		}},

		{"short digest", strings.Repeat("1", 64), strings.Repeat("1", 63), []string{first + `sha256 is "` + strings.Repeat("1", 63) + `", want 64 lower-case hexadecimal digits`}},
		{"upper-case digest", strings.Repeat("1", 64), strings.Repeat("A", 64), []string{first + `sha256 is "` + strings.Repeat("A", 64) + `", want 64 lower-case hexadecimal digits`}},
		{"size without digest", `"sha256": "` + strings.Repeat("3", 64) + `",`, `"size": 3,`, []string{"artifact 2 (headers all): size is of no use without sha256"}},
		{"package without size", `"size": 1,`, ``, []string{first + "want both of sha256 and size, which only an artifact with urls may leave out"}},
		{"size as text", `"size": 1,`, `"size": "1",`, []string{first + `size is "1", want a positive integer`}},
		{"size of nothing", `"size": 1,`, `"size": 0,`, []string{first + "size is 0, want a positive integer"}},
		{"negative size", `"size": 1,`, `"size": -1,`, []string{first + "size is -1, want a positive integer"}},
		{"fraction", `"size": 1,`, `"size": 1.0,`, []string{first + "size is 1.0, want a positive integer"}},
		{"size over 64 bits", `"size": 1,`, `"size": 9223372036854775808,`, []string{first + "size is 9223372036854775808, want a positive integer"}},
		{"no size at all", `"size": 1,`, `"size": null,`, []string{first + "size is null, want a positive integer"}},
		{"unpinned package", `"sha256": "` + strings.Repeat("1", 64) + `",
      "size": 1,`, ``, []string{first + "want both of sha256 and size, which only an artifact with urls may leave out"}},

		{"two sources", `"package": "busybox-static",`, `"package": "busybox-static", "urls": ["https://a.example/b"],`, []string{first + "want either urls, or package and path"}},
		{"half a package", `"package": "busybox-static",`, ``, []string{first + "want both of package and path"}},
		{"no source", `"urls": [
        ` + image + `
      ],`, ``, []string{last + "want either urls, or package and path"}},
		{"path", `"pool/main/b`, `"main/b`, []string{first + `path is "main/b/busybox/busybox-static_1.35.0-4+b1_arm64.deb", want pool/....deb`}},
		{"path that climbs", `"pool/main/b`, `"pool/../b`, []string{first + `path is "pool/../b/busybox/busybox-static_1.35.0-4+b1_arm64.deb", want pool/....deb`}},
		{"path of no package", `_arm64.deb"`, `_arm64.udeb"`, []string{first + `path is "pool/main/b/busybox/busybox-static_1.35.0-4+b1_arm64.udeb", want pool/....deb`}},
		{"URL as text", `[
        ` + image + `
      ]`, image, []string{last + `urls is "https://one.example/vmlinux", want a list of strings`}},
		{"no URLs", image, ``, []string{last + "urls is empty"}},
		{"URL of no text", image, `1`, []string{last + "urls has 1, want a string that is not empty"}},
		{"empty URL", image, `""`, []string{last + `urls has "", want a string that is not empty`}},
		{"http", image, `"http://one.example/vmlinux"`, []string{last + `urls has "http://one.example/vmlinux", want https`}},
		{"file", image, `"file:///vmlinux"`, []string{last + `urls has "file:///vmlinux", want https`}},
		{"user info", image, `"https://me:pass@one.example/vmlinux"`, []string{last + `urls has "https://me:pass@one.example/vmlinux", want no user info`}},
		{"fragment", image, `"https://one.example/vmlinux#x"`, []string{last + `urls has "https://one.example/vmlinux#x", want no query and no fragment`}},
		{"empty fragment", image, `"https://one.example/vmlinux#"`, []string{last + `urls has "https://one.example/vmlinux#", want no query and no fragment`}},
		{"query", image, `"https://one.example/vmlinux?x=y"`, []string{last + `urls has "https://one.example/vmlinux?x=y", want no query and no fragment`}},
		{"way round", image, `"https://one.example/a/../vmlinux"`, []string{last + `urls has "https://one.example/a/../vmlinux", want a path to a file, without . and .. in it`}},
		{"no host", image, `"https:///vmlinux"`, []string{last + `urls has "https:///vmlinux", which has no host`}},
		{"no URL", image, `"https://one.example:x/vmlinux"`, []string{last + `urls has "https://one.example:x/vmlinux", which is no URL`}},
		{"space", image, `"https://one.example/vm linux"`, []string{last + `urls has "https://one.example/vm linux", which is no URL`}},
		{"no file", image, `"https://one.example"`, []string{last + `urls has "https://one.example", want a path to a file, without . and .. in it`}},
		{"folder", image, `"https://one.example/a/"`, []string{last + `urls has "https://one.example/a/", want a path to a file, without . and .. in it`}},
		{"GitHub's archive", image, `"https://GitHub.com/a/b/archive/v1.tar.gz"`, []string{last + `urls has "https://GitHub.com/a/b/archive/v1.tar.gz", which GitHub makes anew, with other bytes: want a release asset`}},
		{"URL twice", image, image + `, ` + image, []string{last + `urls has "https://one.example/vmlinux" twice`}},
		{"other file name", image, image + `, "https://one.example/Image"`, []string{last + `urls has "https://one.example/Image", want one that ends in "vmlinux" as the first does`}},

		{"headers of a base", `"package": "busybox-static",`, `"headers": ["headers"], "package": "busybox-static",`, []string{first + "headers is for kernels only"}},
		{"order of headers", `"headers",
        "headers-own"`, `"headers-own",
        "headers"`, []string{last + `headers has "headers", want names in order and each once`}},
		{"headers twice", `"headers",
        "headers-own"`, `"headers", "headers"`, []string{last + `headers has "headers", want names in order and each once`}},
		{"unknown headers", `"headers-own"
`, `"linux"
`, []string{last + `headers has "linux", which are no headers for x86_64 or all`}},
		{"headers of another arch", `"https://one.example/Image"
      ]`, `"https://one.example/Image"
      ],
      "headers": ["headers-own"]`, []string{`artifact 4 (linux aarch64): headers has "headers-own", which are no headers for aarch64 or all`}},
		{"no headers", `"headers",
        "headers-own"`, ``, []string{last + "headers is empty"}},

		{"order of artifacts", `"name": "headers-own"`, `"name": "a"`, []string{
			"artifact 3 (a x86_64): want artifacts in the order of name, then arch",
			last + `headers has "headers-own", which are no headers for x86_64 or all`,
		}},
		{"artifact twice", `"name": "busybox",
      "arch": "x86_64"`, `"name": "busybox",
      "arch": "aarch64"`, []string{
			"artifact 1 (busybox aarch64): it stands twice",
			`profile debian: base is "busybox", which is no base for x86_64`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := strings.Replace(canonical, test.old, test.new, 1)
			if in == canonical {
				t.Fatalf("canonical has no %s", test.old)
			}
			_, err := Parse([]byte(in))
			problems, ok := errors.AsType[*ProblemsError](err)
			if !ok {
				t.Fatalf("got error %v, want problems", err)
			}
			if diff := cmp.Diff(test.want, problems.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblemsError(t *testing.T) {
	if got, want := (&ProblemsError{[]string{"a: b"}}).Error(), "check lock: a: b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&ProblemsError{[]string{"a: b", "c: d"}}).Error(), "check lock: 2 problems:\n  a: b\n  c: d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(canonical))
	f.Add([]byte(`{"version": 1, "profiles": {}, "artifacts": [null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse(data)
		if err != nil {
			return
		}
		form, err := first.MarshalCanonical()
		if err != nil {
			t.Fatalf("parsed lock has no canonical form: %v", err)
		}
		second, err := Parse(form)
		if err != nil {
			t.Fatalf("canonical form does not parse: %v", err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("canonical form says something else (-parsed +again):\n%s", diff)
		}
	})
}
