package cloudhypervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// operations are those of the API's published description that are used here:
// method, and the schema of the body or "" for none.
var operations = map[string][2]string{
	"/api/v1/vmm.ping":    {"GET", ""},
	"/api/v1/vm.info":     {"GET", ""},
	"/api/v1/vm.create":   {"PUT", "VmConfig"},
	"/api/v1/vm.boot":     {"PUT", ""},
	"/api/v1/vm.pause":    {"PUT", ""},
	"/api/v1/vm.resume":   {"PUT", ""},
	"/api/v1/vm.snapshot": {"PUT", "VmSnapshotConfig"},
	"/api/v1/vm.restore":  {"PUT", "RestoreConfig"},
}

// schemas are the description's, as far as a machine of ours can have to do with
// them: NAME:TYPE of each property, behind ! if it is required. A type is
// string, boolean, integer, integer>=MINIMUM, a schema, A|B for one of these
// words, or [] and the type of a list's items.
var schemas = map[string]string{
	"VmConfig": "cpus:CpusConfig memory:MemoryConfig !payload:PayloadConfig disks:[]DiskConfig net:[]NetConfig rng:RngConfig " +
		"serial:SerialConfig console:ConsoleConfig vsock:VsockConfig iommu:boolean watchdog:boolean pvpanic:boolean landlock_enable:boolean",
	"CpusConfig": "!boot_vcpus:integer>=1 !max_vcpus:integer>=1 kvm_hyperv:boolean max_phys_bits:integer nested:boolean " +
		"core_scheduling:Vm|Vcpu|Off",
	"MemoryConfig": "!size:integer hotplug_size:integer hotplugged_size:integer mergeable:boolean hotplug_method:string " +
		"shared:boolean hugepages:boolean hugepage_size:integer prefault:boolean reserve:boolean thp:boolean",
	"PayloadConfig": "firmware:string kernel:string cmdline:string initramfs:string igvm:string host_data:string",
	"DiskConfig": "path:string readonly:boolean direct:boolean iommu:boolean num_queues:integer queue_size:integer " +
		"vhost_user:boolean vhost_socket:string pci_segment:integer pci_device_id:integer id:string serial:string rate_limit_group:string backing_files:boolean sparse:boolean " +
		"image_type:FixedVhd|Qcow2|Raw|Vhdx|Unknown lock_granularity:ByteRange|Full",
	"NetConfig": "tap:string ip:string mask:string mac:string host_mac:string mtu:integer iommu:boolean num_queues:integer queue_size:integer " +
		"vhost_user:boolean vhost_socket:string vhost_mode:string id:string pci_segment:integer pci_device_id:integer " +
		"offload_tso:boolean offload_ufo:boolean offload_csum:boolean",
	"RngConfig":    "id:string pci_segment:integer pci_device_id:integer iommu:boolean !src:string",
	"SerialConfig": "file:string socket:string !mode:Off|Pty|Tty|File|Socket|Null",
	"ConsoleConfig": "file:string socket:string !mode:Off|Pty|Tty|File|Socket|Null iommu:boolean " +
		"id:string pci_segment:integer pci_device_id:integer",
	"VsockConfig":      "!cid:integer>=3 !socket:string iommu:boolean pci_segment:integer pci_device_id:integer id:string",
	"VmSnapshotConfig": "destination_url:string",
	"RestoreConfig":    "!source_url:string prefault:boolean memory_restore_mode:Copy|OnDemand resume:boolean",
}

// checkRequest says what the API's description does not allow in a request, and
// gives its body.
func checkRequest(r *http.Request) ([]byte, error) {
	operation, ok := operations[r.URL.Path]
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return nil, err
	case !ok || r.URL.RawQuery != "":
		return nil, fmt.Errorf("path is %s, which is not known", r.URL)
	case r.Method != operation[0]:
		return nil, fmt.Errorf("method is %s, want %s", r.Method, operation[0])
	case r.Host == "" || len(r.TransferEncoding) > 0:
		return nil, errors.New("got no host, or a body in chunks")
	case operation[1] == "" && len(body) > 0:
		return nil, errors.New("got a body, want none")
	case operation[1] == "":
		return nil, nil
	case r.Header.Get("Content-Type") != "application/json":
		return nil, fmt.Errorf("content type is %q", r.Header.Get("Content-Type"))
	}
	return body, checkDocument(operation[1], body)
}

// checkDocument says what a schema does not allow in a document.
func checkDocument(schema string, text []byte) error {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("got more than one document")
	}
	return checkValue(schema, value, schema)
}

func checkValue(kind string, value any, at string) error {
	wrong := fmt.Errorf("%s is %v, want %s", at, value, kind)
	switch number, minimum, bounded := strings.Cut(kind, ">="); {
	case strings.HasPrefix(kind, "[]"):
		list, ok := value.([]any)
		if !ok {
			return wrong
		}
		for i, item := range list {
			if err := checkValue(kind[2:], item, at+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	case strings.Contains(kind, "|"):
		if word, ok := value.(string); !ok || !slices.Contains(strings.Split(kind, "|"), word) {
			return wrong
		}
	case kind == "string":
		if _, ok := value.(string); !ok {
			return wrong
		}
	case kind == "boolean":
		if _, ok := value.(bool); !ok {
			return wrong
		}
	case number == "integer":
		least := int64(math.MinInt64)
		if bounded {
			least, _ = strconv.ParseInt(minimum, 10, 64)
		}
		number, ok := value.(json.Number)
		if !ok {
			return wrong
		}
		if n, err := number.Int64(); err != nil || n < least {
			return wrong
		}
	default:
		return checkObject(kind, value, at)
	}
	return nil
}

func checkObject(schema string, value any, at string) error {
	fields, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is %v, want an object", at, value)
	}
	known := map[string]string{}
	for property := range strings.FieldsSeq(schemas[schema]) {
		name, kind, _ := strings.Cut(property, ":")
		name, required := strings.CutPrefix(name, "!")
		known[name] = kind
		if _, ok := fields[name]; required && !ok {
			return fmt.Errorf("%s has no %s", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		kind, ok := known[name]
		if !ok {
			return fmt.Errorf("%s has %s, which is not known", at, name)
		}
		if err := checkValue(kind, fields[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}
