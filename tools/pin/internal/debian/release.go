package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// verify gives the text that an InRelease file signs. Where gpgv or the keyring
// is not there, warning says so; a bad signature is an error.
func verify(ctx context.Context, inRelease []byte, keyring string) (text []byte, warning string, err error) {
	if warning, err = missing(keyring); err != nil {
		return nil, "", err
	}
	if warning != "" {
		text, err := cleartext(inRelease)
		return text, warning, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "gpgv", "--keyring", keyring, "--status-fd", "2", "--output", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(inRelease), &stdout, &stderr
	runErr := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](runErr); runErr != nil && !exited {
		return nil, "", fmt.Errorf("run gpgv: %w", runErr)
	}
	// Debian signs with several keys, and an older keyring lacks the newer ones,
	// which makes gpgv fail: as apt does, take one good signature and no bad one.
	// Source: doc/DETAILS of GnuPG.
	good, bad := false, false
	for line := range strings.Lines(stderr.String()) {
		good = good || strings.HasPrefix(line, "[GNUPG:] GOODSIG ")
		bad = bad || strings.HasPrefix(line, "[GNUPG:] BADSIG ")
	}
	if !good || bad || stdout.Len() == 0 {
		return nil, "", fmt.Errorf("no good signature of Debian's keys in %s; gpgv says:\n%s", keyring, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), "", nil
}

// missing names what a check of signatures lacks.
func missing(keyring string) (string, error) {
	if _, err := exec.LookPath("gpgv"); err != nil {
		return "gpgv is not installed", nil
	}
	if _, err := os.Stat(keyring); errors.Is(err, fs.ErrNotExist) {
		return keyring + " does not exist (package debian-archive-keyring)", nil
	} else if err != nil {
		return "", fmt.Errorf("look for keyring: %w", err)
	}
	return "", nil
}

// cleartext gives the text of a message that is signed in place, unchecked.
// Source: RFC 9580, 7.
func cleartext(message []byte) ([]byte, error) {
	_, text, found := strings.Cut("\n"+string(message), "\n-----BEGIN PGP SIGNED MESSAGE-----\n")
	_, text, found2 := strings.Cut(text, "\n\n") // behind the armor's headers
	text, _, found3 := strings.Cut(text, "\n-----BEGIN PGP SIGNATURE-----\n")
	if !found || !found2 || !found3 {
		return nil, errors.New("it is no signed message")
	}
	return []byte(text + "\n"), nil
}

// fileInfo is what a release says of a file.
type fileInfo struct {
	sha256 string
	size   int64
}

func describe(data []byte) fileInfo {
	sum := sha256.Sum256(data)
	return fileInfo{hex.EncodeToString(sum[:]), int64(len(data))}
}

type release struct {
	codename, suite string
	files           map[string]fileInfo // by path below the suite
}

// parseRelease reads what is of interest here. Source:
// wiki.debian.org/DebianRepository/Format.
func parseRelease(text []byte) (*release, error) {
	r := &release{files: map[string]fileInfo{}}
	inSums := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(line, " ") {
			name, value, _ := strings.Cut(line, ":")
			inSums = name == "SHA256"
			switch name {
			case "Codename":
				r.codename = strings.TrimSpace(value)
			case "Suite":
				r.suite = strings.TrimSpace(value)
			}
			continue
		}
		if !inSums {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 || len(fields[0]) != 64 {
			return nil, fmt.Errorf("line %q is not of SHA-256, size and path", line)
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		if _, ok := r.files[fields[2]]; ok {
			return nil, fmt.Errorf("%s stands twice", fields[2])
		}
		r.files[fields[2]] = fileInfo{fields[0], size}
	}
	if len(r.files) == 0 {
		return nil, errors.New("it has no list SHA256")
	}
	return r, nil
}
