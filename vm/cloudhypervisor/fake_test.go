package cloudhypervisor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// patience is how long a test waits for what must happen.
const patience = processtest.Patience

// The test binary is also the program that tests start. This is what it does,
// and the file that gets each request's operation and body.
const (
	modeEnv     = "KINDLING_TEST_CLOUD_HYPERVISOR"
	requestsEnv = "KINDLING_TEST_REQUESTS"
)

func TestMain(m *testing.M) {
	qemutest.Main(m, map[string]func() error{Program: fakeProgram})
}

// fake is the program's API.
type fake struct {
	mode   string
	events *os.File
	// end has the program's outcome.
	end chan error

	mu     sync.Mutex
	config []byte // of the machine; nil if there is none
	state  string // VmState
	vsock  net.Listener
}

func fakeProgram() error {
	signal.Ignore(syscall.SIGPIPE) // as programs in Rust do
	want := []string{"--api-socket", "fd=3", "--event-monitor", "fd=4"}
	if got := strings.Join(os.Args[1:], " "); got != strings.Join(want, " ") {
		return fmt.Errorf("got arguments %s", got)
	}
	f := &fake{mode: os.Getenv(modeEnv), events: os.NewFile(4, "events"), end: make(chan error, 1)}
	if f.mode == "fails" {
		return errors.New("Cannot open /dev/kvm: permission denied")
	}
	event := "{\n  \"timestamp\": {\"secs\": 0, \"nanos\": 1},\n  \"source\": \"vmm\",\n  \"event\": \"starting\",\n  \"properties\": null\n}\n\n"
	if _, err := fmt.Fprint(f.events, event); err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		return err
	}
	switch f.mode {
	case "is silent":
	case "speaks another protocol":
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "SSH-2.0-OpenSSH\r\n"); err != nil {
			return err
		}
	default:
		go func() { f.end <- http.Serve(listener, f) }()
	}
	return <-f.end
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	body, err := checkRequest(r)
	if err == nil {
		err = logRequest(name, body)
	}
	if err == nil && f.misbehave(name, w) {
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "Bad Request", err.Error())
		return
	}
	answer, err := f.do(name, body)
	switch {
	case errors.Is(err, errNotCreated):
		refuse(w, http.StatusNotFound, err.Error())
		return
	case err != nil:
		refuse(w, http.StatusInternalServerError, "Error from API", err.Error())
		return
	case answer == "":
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, err = io.WriteString(w, answer)
	}
	if err = cmp.Or(err, http.NewResponseController(w).Flush()); err == nil {
		err = f.after(name)
	}
	if err != nil {
		f.end <- err
	}
}

func refuse(w http.ResponseWriter, status int, errors ...string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(errors)
}

func logRequest(name string, body []byte) (err error) {
	file, err := os.OpenFile(os.Getenv(requestsEnv), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = fmt.Fprintf(file, "%s %s\n", name, body)
	return err
}

// misbehave answers, if at all, as the program should not.
func (f *fake) misbehave(name string, w http.ResponseWriter) bool {
	where, what, _ := strings.Cut(f.mode, ": ")
	if where != name {
		return false
	}
	switch what {
	case "ends":
		f.end <- errors.New("thread 'vmm' panicked: out of memory")
		select {} // no answer
	case "hangs":
		select {}
	case "list of errors":
		refuse(w, http.StatusInternalServerError, "Error from API", "The VM could not boot", "Cannot load the kernel")
	case "text":
		http.Error(w, "Cannot load the kernel", http.StatusInternalServerError)
	case "no words":
		w.WriteHeader(http.StatusInternalServerError)
	case "no JSON":
		fmt.Fprint(w, "<html>")
	case "empty object":
		fmt.Fprint(w, "{}")
	case "half":
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"version":`)
	case "much":
		fmt.Fprint(w, `{"version":"`, strings.Repeat("9", maxAnswer), `"}`)
	case "wrong status":
		w.WriteHeader(http.StatusOK)
	case "redirect":
		w.Header().Set("Location", "http://localhost/api/v1/vmm.ping")
		w.WriteHeader(http.StatusFound)
	default:
		return false
	}
	return true
}

var errNotCreated = errors.New("The VM is not created")

// do does what the API says, for a machine whose guest does nothing.
func (f *fake) do(name string, body []byte) (answer string, err error) {
	exists := f.config != nil
	switch {
	case name == "vmm.ping":
		return `{"build_version":"v48.0-dirty","version":"v48.0","pid":1,"features":["kvm"]}`, nil
	case name == "vm.create" && !exists:
		f.config, f.state = body, "Created"
		return "", nil
	case name == "vm.restore" && !exists:
		return "", f.restore(body)
	case !exists:
		return "", errNotCreated
	case name == "vm.info":
		return fmt.Sprintf(`{"config":%s,"state":"%s"}`, f.config, f.state), nil
	case name == "vm.boot" && f.state == "Created", name == "vm.resume" && f.state == "Paused":
		f.state = "Running"
		return "", f.listen()
	case name == "vm.pause" && f.state == "Running":
		f.state = "Paused"
		return "", nil
	case name == "vm.snapshot" && f.state == "Paused":
		return "", f.snapshot(body)
	default:
		return "", fmt.Errorf("The VM is %s", f.state)
	}
}

// listen makes the guest's vsock, once.
func (f *fake) listen() (err error) {
	if f.vsock != nil {
		return nil
	}
	var config vmConfig
	if err := json.Unmarshal(f.config, &config); err != nil {
		return err
	}
	f.vsock, err = net.Listen("unix", config.Vsock.Socket)
	return err
}

func (f *fake) snapshot(body []byte) error {
	var to struct {
		URL string `json:"destination_url"`
	}
	if err := json.Unmarshal(body, &to); err != nil {
		return err
	}
	dir := strings.TrimPrefix(to.URL, "file://")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return fmt.Errorf("got %v, error %w, want an empty folder", entries, err)
	}
	for name, text := range map[string]string{"config.json": string(f.config), "memory-ranges": "memory", "state.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) restore(body []byte) error {
	var from struct {
		URL string `json:"source_url"`
	}
	if err := json.Unmarshal(body, &from); err != nil {
		return err
	}
	dir := strings.TrimPrefix(from.URL, "file://")
	for _, name := range []string{"memory-ranges", "state.json"} {
		if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	config, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	f.config, f.state = config, "Paused"
	return checkDocument("VmConfig", config)
}

// after is what the machine does behind an answer.
func (f *fake) after(name string) error {
	switch {
	case name != "vm.boot" && name != "vm.resume":
	case f.mode == "powers off":
		fmt.Print(processtest.LongText)
		close(f.end)
	case f.mode == "fails later":
		f.end <- errors.New("vCPU thread panicked")
	case f.mode == "resets":
		fmt.Print("[    1.0] reboot: Restarting system\n")
		_, err := fmt.Fprint(f.events, `{"source":"vm","event":"booted"}`, "\n\n",
			`{"timestamp":{"secs":1,"nanos":2},"source":"vm","event":"rebooting","properties":null}`, "\n\n{")
		return err
	case f.mode == "sends no events":
		_, err := fmt.Fprint(f.events, "no JSON\n")
		return err
	case f.mode == "speaks":
		fmt.Print("[    0.0] Linux ver")
		fmt.Print("sion 6.12.0\r\n")
	case f.mode != "boots without a word":
		fmt.Print("up\n")
	}
	return nil
}
