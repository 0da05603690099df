package github

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseAsset(t *testing.T) {
	const enterprise = "https://git.example/api/v3"
	linux := Asset{"kernel", "linux", "v6", "vmlinux"}
	tests := []struct {
		url, api string
		want     Asset
	}{
		{"https://github.com/kernel/linux/releases/download/v6/vmlinux", DefaultAPI, linux},
		{"https://github.com/kernel/linux/releases/download/v6/vmlinux?x=y", enterprise, linux},
		{"https://git.example/kernel/linux/releases/download/v6/vmlinux", enterprise, linux},
		{"https://git.example/kernel/linux/releases/download/v6/vmlinux", DefaultAPI, Asset{}},
		{"https://github.com/kernel/linux/releases/latest/download/vmlinux", DefaultAPI, Asset{}},
		{"https://github.com/kernel/linux/releases/download/v6/a/vmlinux", DefaultAPI, Asset{}},
		{"https://github.com/kernel/linux/raw/download/v6/vmlinux", DefaultAPI, Asset{}},
		{"https://github.com:x/", DefaultAPI, Asset{}},
		{"https://a.example/vmlinux", "https://a.example:x/", Asset{}},
	}
	for _, test := range tests {
		got, ok := ParseAsset(test.url, test.api)
		if diff := cmp.Diff(test.want, got); diff != "" || ok != (got != Asset{}) {
			t.Errorf("%s: ok %v (-want +got):\n%s", test.url, ok, diff)
		}
	}
}

func TestDigest(t *testing.T) {
	const other = `{"name": "Image", "digest": "sha256:x"}, `
	tests := []struct{ name, answer, want, wantErr string }{
		{"digest", `{"tag_name": "v6", "assets": [` + other + `{"name": "vmlinux", "size": 1, "digest": "sha256:` + sum + `"}]}`, sum, ""},
		{"null", `{"assets": [{"name": "vmlinux", "digest": null}]}`, "", ""},
		{"no digest", `{"assets": [{"name": "vmlinux"}]}`, "", ""},
		{"other algorithm", `{"assets": [{"name": "vmlinux", "digest": "md5:x"}]}`, "", `parse release v6/1 of kernel/linux: asset vmlinux has digest "md5:x", want sha256: and 64 hexadecimal digits`},
		{"odd digest", `{"assets": [{"name": "vmlinux", "digest": "sha256:` + strings.ToUpper(sum) + `"}]}`, "",
			`parse release v6/1 of kernel/linux: asset vmlinux has digest "sha256:` + strings.ToUpper(sum) + `", want sha256: and 64 hexadecimal digits`},
		{"no asset", `{"assets": [` + other + `{"name": "vmlinuz"}]}`, "", "parse release v6/1 of kernel/linux: no asset vmlinux"},
		{"no JSON", `not found`, "", "parse release v6/1 of kernel/linux: invalid character 'o' in literal null (expecting 'u')"},
		{"busy", "busy", "", "fetch SERVER/api/repos/kernel/linux/releases/tags/v6%2F1: server says 503 Service Unavailable"},
		{"refused", "", "", "fetch SERVER/api/repos/kernel/linux/releases/tags/v6%2F1: server says 403 Forbidden"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if test.answer == "" || r.URL.EscapedPath() != "/api/repos/kernel/linux/releases/tags/v6%2F1" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				if test.answer == "busy" {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				if _, err := io.WriteString(w, test.answer); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			client := fetch.New()
			client.AllowHTTPLoopback = true
			got, err := Digest(t.Context(), client, server.URL+"/api/", Asset{"kernel", "linux", "v6/1", "vmlinux"})
			gotErr := ""
			if err != nil {
				gotErr = strings.ReplaceAll(fmt.Sprint(err), server.URL, "SERVER")
			}
			if got != test.want || gotErr != test.wantErr {
				t.Errorf("got %q, error %q\nwant %q, error %q", got, gotErr, test.want, test.wantErr)
			}
		})
	}
}
