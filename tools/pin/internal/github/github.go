// Package github asks GitHub which bytes an asset of a release should have.
//
// GitHub computes the digest when an asset is uploaded, so it tells a change on
// the way, not one by the asset's owner.
package github

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

// DefaultAPI is the API of github.com.
const DefaultAPI = "https://api.github.com"

// maxRelease bounds the description of a release, in bytes.
const maxRelease = 16 << 20

// Asset is a file of a release.
type Asset struct{ Owner, Repository, Tag, Name string }

// ParseAsset takes apart the address of an asset on github.com, or on the host
// of an API: GitHub Enterprise has both on one.
func ParseAsset(address, api string) (Asset, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return Asset{}, false
	}
	a, err := url.Parse(api)
	if err != nil || u.Host != "github.com" && u.Host != a.Host {
		return Asset{}, false
	}
	elements := strings.Split(u.Path, "/")
	if len(elements) != 7 || elements[3] != "releases" || elements[4] != "download" {
		return Asset{}, false
	}
	return Asset{elements[1], elements[2], elements[5], elements[6]}, true
}

// Digest asks the API, once, for an asset's SHA-256, 64 lower-case hexadecimal
// digits. It is "" for those that were uploaded before GitHub computed digests.
func Digest(ctx context.Context, client *fetch.Client, api string, asset Asset) (string, error) {
	address, err := url.JoinPath(api, "repos", url.PathEscape(asset.Owner), url.PathEscape(asset.Repository),
		"releases", "tags", url.PathEscape(asset.Tag))
	if err != nil {
		return "", fmt.Errorf("make URL of release: %w", err)
	}
	data, err := client.Bytes(ctx, fetch.Request{URL: address, MaxSize: maxRelease, Once: true})
	if err != nil {
		return "", err
	}
	digest, err := parseRelease(data, asset.Name)
	if err != nil {
		return "", fmt.Errorf("parse release %s of %s/%s: %w", asset.Tag, asset.Owner, asset.Repository, err)
	}
	return digest, nil
}

func parseRelease(data []byte, name string) (string, error) {
	// Other keys are GitHub's business.
	var release struct {
		Assets []struct {
			Name   string `json:"name"`
			Digest string `json:"digest"` // or null
		} `json:"assets"`
	}
	if err := json.Unmarshal(data, &release); err != nil {
		return "", err
	}
	for _, asset := range release.Assets {
		if asset.Name != name {
			continue
		}
		if asset.Digest == "" {
			return "", nil
		}
		digest, ok := strings.CutPrefix(asset.Digest, "sha256:")
		if !ok || len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
			return "", fmt.Errorf("asset %s has digest %q, want sha256: and 64 hexadecimal digits", name, asset.Digest)
		}
		return digest, nil
	}
	return "", fmt.Errorf("no asset %s", name)
}
