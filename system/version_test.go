package system

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
)

func TestVersionsOfTheLock(t *testing.T) {
	for _, version := range []KernelVersion{DefaultKernelVersion, Kernel_202601152, Kernel_202602101} {
		if !slices.Contains(SupportedKernelVersions, version) {
			t.Errorf("%s is not supported", version)
		}
		if err := checkVersion(version); err != nil {
			t.Error(err)
		}
	}
	const want = "https://github.com/kernel/linux/releases/download/ch-6.12.8-kernel-1.4-202602101/"
	for got, want := range map[string]string{
		KernelDownloadURLs[Kernel_202602101]["x86_64"]:  want + "vmlinux-x86_64",
		KernelDownloadURLs[Kernel_202602101]["aarch64"]: want + "Image-arm64",
		KernelHeaderURLs[Kernel_202602101]["x86_64"]:    want + "kernel-headers-x86_64.tar.gz",
		KernelHeaderURLs[Kernel_202602101]["aarch64"]:   want + "kernel-headers-aarch64.tar.gz",
	} {
		if got != want {
			t.Errorf("URL = %q, want %q", got, want)
		}
	}
	if url := KernelDownloadURLs[DefaultKernelVersion]["x86_64"]; strings.HasPrefix(string(DefaultKernelVersion), "linux-") && url != "" {
		t.Errorf("a kernel in a package has URL %q", url)
	}
}

func TestCheckVersion(t *testing.T) {
	for _, version := range []KernelVersion{"", ".", "..", "../x", "a/b", "/x", "latest", "a\x00", "a b", "-x", KernelVersion(strings.Repeat("a", 201))} {
		if err := checkVersion(version); !errors.Is(err, ErrUnsupportedVersion) || len(err.Error()) > 200 {
			t.Errorf("checkVersion(%.20q): got error %v", version, err)
		}
	}
}

func TestKernelVersionOfASet(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	for _, test := range []struct {
		release string
		want    KernelVersion
	}{
		{"6.1.0-50-cloud-amd64", "linux-6.1.0-50-cloud"},
		{"6.12.95+deb12-cloud-amd64", "linux-6.12.95-cloud"},
		{"6.18.0-mine", "6.18.0-mine"},
		{"../x", KernelVersion("sha256-" + digest)},
		{"sha256-x", KernelVersion("sha256-" + digest)},
	} {
		got := kernelVersion(bundle.File{SHA256: digest}, "x86_64", &bundle.KernelDescription{Release: test.release})
		if got != test.want {
			t.Errorf("release %s: version %s, want %s", test.release, got, test.want)
		}
	}
	if got := kernelVersion(bundle.File{SHA256: digest}, "x86_64", nil); got != KernelVersion("sha256-"+digest) {
		t.Errorf("without description: version %s", got)
	}
}
