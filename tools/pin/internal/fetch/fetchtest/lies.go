package fetchtest

import "net/http"

// Lie is an answer that a client must refuse.
type Lie struct {
	Name   string
	Answer Answer
	// Want is how the error starts, behind the URL, which is SERVER/file.
	Want string
	// Waits is how often the client tries again.
	Waits int
}

const page = "<!DOCTYPE html><html>Please log in</html>"

// Lies are what servers, proxies and portals do.
var Lies = []Lie{
	{"HTML", With(200, page, "Content-Type: text/html; charset=utf-8"),
		`got a web page instead of a file (Content-Type "text/html; charset=utf-8", first bytes "` + page + `")`, 0},
	{"HTML that says otherwise", With(200, "\n "+page),
		`got a web page instead of a file (Content-Type "application/octet-stream", first bytes "\n ` + page + `")`, 0},
	{"HTML without bytes", With(200, "", "Content-Type: text/html"),
		`got a web page instead of a file (Content-Type "text/html", first bytes "")`, 0},
	{"shorter than it says", CutAt(40), "6 attempts: read after 40 bytes: unexpected EOF", 5},
	{"longer than anybody wants", With(200, "", "Content-Length: 3000000000"), "file has 3000000000 bytes, want at most ", 0},
	{"two lengths", Raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
		"6 attempts: net/http: HTTP/1.x transport connection broken: http: message cannot contain multiple Content-Length headers", 5},
	{"no length", Raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"),
		"server does not say how many bytes it sends: a cut file would look whole", 0},
	{"chunks with no end", Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
		"6 attempts: read after 5 bytes: unexpected EOF", 5},
	{"no HTTP", Raw("220 ready\r\n"), "6 attempts: net/http: HTTP/1.x transport connection broken: malformed HTTP ", 5},
	{"nothing", Raw(""), "6 attempts: EOF", 5},
	{"reset", Reset, "6 attempts: read ", 5},
	{"stalls", StallAt(0), "6 attempts: server stalls: it sent 0 bytes in 30s, want at least 16384", 5},
	{"stalls in the file", StallAt(40), "6 attempts: server stalls: it sent ", 5},
	{"drips", Drip, "6 attempts: server stalls: it sent ", 5},
	{"redirects to itself", Redirect("/file"), "more than 10 redirects", 0},
	{"redirects to http", Redirect("http://mirror.invalid/file?signature=secret"), "server redirects to http://mirror.invalid/file, want https", 0},
	{"redirects to another port", Redirect("http://127.0.0.1:1/file"), "server redirects to http://127.0.0.1:1/file, want https", 0},
	{"redirects to a file", Redirect("file:///etc/passwd"), "server redirects to file:///etc/passwd, want https", 0},
	{"redirects nowhere", With(302, ""), "server says 302 Found", 0},
	{"part unasked", Rest(40), "got a part of the file (206 Partial Content), want the whole", 0},
	{"other part", other(With(206, Content[39:], "Content-Range: bytes 39-99/100")),
		`6 attempts: asked for the bytes from 40: got a part with Content-Range "bytes 39-99/100"`, 5},
	{"part of another file", other(Rest(40, `ETag: "two"`)),
		`6 attempts: asked for the bytes from 40 of "one": got those of "two"`, 5},
	{"416 of what there was", other(With(416, "")), "6 attempts: asked for the bytes from 40: 416 Requested Range Not Satisfiable", 5},
	{"416 unasked", With(416, ""), "server says 416 Requested Range Not Satisfiable", 0},
	{"204", With(204, ""), "server says 204 No Content", 0},
	{"401", With(401, "who?"), "server says 401 Unauthorized", 0},
	{"403", With(403, "no"), "server says 403 Forbidden", 0},
	{"404", With(404, page, "Content-Type: text/html"), "server says 404 Not Found", 0},
	{"407", With(407, "who?"), "proxy says 407 Proxy Authentication Required", 0},
	{"429", With(429, ""), "6 attempts: server says 429 Too Many Requests", 5},
	{"429 for too long", With(429, "", "Retry-After: 121"),
		"server says 429 Too Many Requests, and to come again in 2m1s, which is more than 2m0s", 0},
	{"429 until tomorrow", With(429, "", "Retry-After: Sat, 03 Jan 2026 12:00:00 GMT"),
		"server says 429 Too Many Requests, and to come again in 24h0m0s, which is more than 2m0s", 0},
	{"500", With(500, ""), "6 attempts: server says 500 Internal Server Error", 5},
	{"gzip that nobody asked for", With(200, "\x1f\x8b", "Content-Encoding: gzip"), `got the file encoded as "gzip", want it as it is`, 0},
	{"gzip as transfer encoding", Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
		`6 attempts: net/http: HTTP/1.x transport connection broken: unsupported transfer encoding: "gzip, chunked"`, 5},
}

// other breaks off where no range is asked for, and otherwise lies.
func other(lie Answer) Answer {
	return func(s *Server, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			CutAt(40, `ETag: "one"`)(s, w, r)
			return
		}
		lie(s, w, r)
	}
}
