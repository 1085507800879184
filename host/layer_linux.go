package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// layerName is what a layer is called in the list of mounts.
const layerName = "bramble"

// Layer makes at show what is in lower, with what is changed there going to upper, so that many can share lower and
// each sees only its own changes. work is an empty folder beside upper, for the kernel. It needs root, a kernel with
// overlayfs and a file system that overlayfs accepts; paths with a comma or colon it cannot have.
func Layer(lower, upper, work, at string) error {
	if strings.ContainsAny(lower+upper+work, `,:\`) {
		return fmt.Errorf("layer %s: %w", at, unix.EINVAL)
	}
	options := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	// What is changed is copied up whole, and renamed folders too: upper is then a tree that can be read by itself.
	err := unix.Mount(layerName, at, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options+",metacopy=off,redirect_dir=off,index=off")
	if errors.Is(err, unix.EINVAL) { // kernels before 4.19 do not know all of these and do none of it
		err = unix.Mount(layerName, at, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	if err != nil {
		return fmt.Errorf("layer %s: %w", at, err)
	}
	return nil
}

// Unlayer ends what Layer made, now for newcomers and for those inside when they leave. Where there is nothing it does nothing.
func Unlayer(at string) error {
	err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// MoveLayer has what Layer made at one folder at another, and removes the first. It costs a sixth of a new one.
func MoveLayer(from, to string) error {
	var on unix.Statfs_t
	err := unix.Statfs(from, &on)
	if err == nil && on.Type != unix.OVERLAYFS_SUPER_MAGIC {
		err = unix.EINVAL
	}
	if err == nil {
		err = unix.Mount(from, to, "", unix.MS_BIND, "") // to move it, nobody else must see our mounts
	}
	if err == nil {
		err = Unlayer(from)
	}
	if err == nil {
		err = os.Remove(from)
	}
	if err != nil {
		return fmt.Errorf("move a layer from %s to %s: %w", from, to, err)
	}
	return nil
}

// Untouched reports whether a folder of an account's is empty and has the rights that it was made with, and no others.
func Untouched(dir string, owner Account, mode os.FileMode) bool {
	var info unix.Stat_t
	if unix.Lstat(dir, &info) != nil || info.Mode != unix.S_IFDIR|uint32(mode) || info.Uid != owner.UID || info.Gid != owner.GID {
		return false
	}
	for _, acl := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		if n, err := unix.Lgetxattr(dir, acl, nil); err == nil && n > 0 {
			return false
		}
	}
	list, err := os.ReadDir(dir)
	return err == nil && len(list) == 0
}

// UnlayerBelow ends all that Layer made in a folder, such as one that is to be removed.
func UnlayerBelow(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil // nothing is there
	}
	list, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4])
		if strings.HasPrefix(at, dir+"/") && strings.Contains(line, " - overlay "+layerName+" ") {
			err = errors.Join(err, Unlayer(at))
		}
	}
	return err
}
