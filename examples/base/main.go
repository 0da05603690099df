// Command base puts a program into an OCI image, an archive of an image layout:
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md. It
// stands for whatever makes images elsewhere.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "base:", err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: base PROGRAM IMAGE")
	}
	program, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	image, err := os.Create(args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	return write(image, program)
}

// descriptor says where a document or layer is and what it is.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

func write(image io.Writer, program []byte) error {
	var layer bytes.Buffer
	layerTar := tar.NewWriter(&layer)
	if err := add(layerTar, "bin/hello", 0o755, program); err != nil {
		return err
	}
	if err := layerTar.Close(); err != nil {
		return err
	}
	archive := tar.NewWriter(image)
	blob := func(mediaType string, content []byte) (descriptor, error) {
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		return descriptor{mediaType, "sha256:" + sum, len(content)}, add(archive, "blobs/sha256/"+sum, 0o644, content)
	}
	document := func(mediaType string, value any) (descriptor, error) {
		content, err := json.Marshal(value)
		if err != nil {
			return descriptor{}, err
		}
		return blob(mediaType, content)
	}
	const vendor = "application/vnd.oci.image."
	layerBlob, err := blob(vendor+"layer.v1.tar", layer.Bytes())
	if err != nil {
		return err
	}
	config, err := document(vendor+"config.v1+json", map[string]any{
		"architecture": "amd64", "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layerBlob.Digest}},
	})
	if err != nil {
		return err
	}
	manifest, err := document(vendor+"manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": vendor + "manifest.v1+json",
		"config": config, "layers": []descriptor{layerBlob},
	})
	if err != nil {
		return err
	}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": vendor + "index.v1+json", "manifests": []descriptor{manifest},
	})
	if err != nil {
		return err
	}
	return errors.Join(
		add(archive, "index.json", 0o644, index),
		add(archive, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)),
		archive.Close(),
	)
}

func add(archive *tar.Writer, name string, mode int64, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}
