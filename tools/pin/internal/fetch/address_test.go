package fetch

import "testing"

func TestCheckURL(t *testing.T) {
	const hint = "want https (--allow-http-loopback allows http from this machine)"
	tests := []struct {
		url      string
		loopback bool // is allowed
		anyHTTP  bool
		want     string
	}{
		{"https://a.example/b", false, false, ""},
		{"http://a.example/b", true, false, "want https"},
		{"http://a.example/b", false, true, ""},
		{"http://127.0.0.1:8080/b", false, false, hint},
		{"http://127.0.0.1:8080/b", true, false, ""},
		{"http://127.1.2.3/b", true, false, ""},
		{"http://localhost/b", true, false, ""},
		{"http://localhost.a.example/b", true, false, "want https"},
		{"http://127.0.0.1.a.example/b", true, false, "want https"},
		{"http://127.0.0.1@a.example/b", true, false, "want https"},
		{"http://[::1]/b", true, false, ""},
		{"http://[::ffff:127.0.0.1]/b", true, false, ""},
		{"http://[::2]/b", true, false, "want https"},
		{"http://10.0.0.1/b", true, false, "want https"},
		{"HTTPS://a.example/b", false, false, ""},
		{"file:///b", true, true, "URL has no host"},
		{"ftp://a.example/b", true, true, `URL has scheme "ftp", want https`},
		{"/b", true, true, "URL has no host"},
		{"", true, true, "URL has no host"},
		{"http://a.example:x/b", true, true, "parse URL: it is malformed"},
	}
	for _, test := range tests {
		client := &Client{AllowHTTPLoopback: test.loopback}
		got := ""
		if err := client.checkURL(Request{URL: test.url, AnyHTTP: test.anyHTTP}); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q, loopback %v, any http %v: got %q, want %q", test.url, test.loopback, test.anyHTTP, got, test.want)
		}
	}
}

func TestDisplay(t *testing.T) {
	for url, want := range map[string]string{
		"https://me:pass@a.example/b?key=c#d": "https://a.example/b",
		"https://a.example/b?":                "https://a.example/b",
		"http://a.example:x/secret":           "a malformed URL",
	} {
		if got := Display(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}
