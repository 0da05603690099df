// Command agent is the guest agent: it runs commands for the host, which
// reaches it over AF_VSOCK. It is a child of init or of systemd, trusts whoever
// has the host's context ID, and serves nobody else.
package main

import (
	"log"
	"os"
)

func main() {
	logger := log.New(os.Stderr, "", log.LstdFlags|log.LUTC)
	if err := run(os.Args[1:], logger); err != nil {
		logger.Fatalf("%s %v", logTag, err)
	}
}
