package headers

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/fsmount"
)

// mountImage makes the file a disk and mounts its squashfs, attached nowhere.
// The disk ends with the mount.
func mountImage(image *os.File) (mount int, err error) {
	device, err := loopDevice(image)
	if err != nil {
		return -1, err
	}
	defer device.Close()
	mount, err = fsmount.Create("squashfs", true, "source="+device.Name())
	if err != nil {
		return -1, fmt.Errorf("%s: %w", image.Name(), err)
	}
	return mount, nil
}

// loopDevice gives a loop device (Documentation/admin-guide/blockdev, loop(4))
// with the file, read-only, that goes when nothing uses it any more.
func loopDevice(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open loop control: %w", err)
	}
	defer control.Close()
	// Another program may take the free device first, but not for ever.
	const tries = 16
	for range tries {
		number, ctlErr := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if ctlErr != nil {
			return nil, fmt.Errorf("find free loop device: %w", ctlErr)
		}
		device, openErr := os.Open(fmt.Sprintf("/dev/loop%d", number))
		if openErr != nil {
			return nil, fmt.Errorf("open loop device: %w", openErr)
		}
		config := unix.LoopConfig{
			Fd:   uint32(image.Fd()),
			Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR},
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		err = errors.Join(fmt.Errorf("set up %s: %w", device.Name(), err), device.Close())
		if !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
	}
	return nil, err
}
