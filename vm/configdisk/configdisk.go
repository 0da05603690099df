// Package configdisk writes the disk that tells a guest what to run.
package configdisk

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/internal/ext4"
)

// MinSize is the least size of a config disk. The file is sparse.
const MinSize = 10 << 20

// Write writes a config disk to path: a read-only ext4 image without a journal
// that holds contract.ConfigFile, mode 0644, and ext4's lost+found. It appears
// complete or not at all. Equal configurations give equal bytes. Only its owner
// may read the image, since environments hold credentials.
//
// A document of more than contract.MaxConfigSize bytes is an error, and so is
// text that is not UTF-8, which JSON cannot carry.
func Write(path string, c *contract.Config) error {
	document, err := encode(c)
	if err != nil {
		return fmt.Errorf("write config disk: %w", err)
	}
	err = ext4.FromTar(path, 0o600, MinSize, func(w io.Writer) error {
		return writeTar(w, document)
	})
	if err != nil {
		return fmt.Errorf("write config disk: %w", err)
	}
	return nil
}

func encode(c *contract.Config) ([]byte, error) {
	if err := checkText(c); err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(c); err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	if b.Len() > contract.MaxConfigSize {
		return nil, fmt.Errorf("encode config: %d bytes, want at most %d", b.Len(), contract.MaxConfigSize)
	}
	return b.Bytes(), nil
}

// checkText finds what encoding/json would replace with U+FFFD in silence.
func checkText(c *contract.Config) error {
	texts := slices.Concat(c.Entrypoint, c.Cmd, c.DNSServers, []string{
		c.Workdir, c.GuestIP, c.GuestGateway, c.GuestDNS, c.GuestIP6, c.GuestGateway6,
		string(c.InitMode), c.Hostname, c.User, c.ExitToken,
	})
	if c.EgressProxy != nil {
		texts = append(texts, c.EgressProxy.ProxyURL, c.EgressProxy.CACertPEM)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Env)) {
		if !utf8.ValidString(c.Env[key]) {
			// The value may be a secret.
			return fmt.Errorf("environment variable %q is not UTF-8", key)
		}
		texts = append(texts, key)
	}
	for _, v := range c.VolumeMounts {
		texts = append(texts, v.Device, v.Path, v.Mode, v.OverlayDevice, v.NFSHost, v.NFSExport)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%q is not UTF-8", text)
		}
	}
	return nil
}

func writeTar(w io.Writer, document []byte) error {
	archive := tar.NewWriter(w)
	header := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     strings.TrimPrefix(contract.ConfigFile, "/"),
		Mode:     0o644,
		Size:     int64(len(document)),
		ModTime:  time.Unix(0, 0),
		Format:   tar.FormatPAX,
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	if _, err := archive.Write(document); err != nil {
		return err
	}
	return archive.Close()
}
