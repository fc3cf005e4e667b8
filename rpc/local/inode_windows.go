package local

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func identityOf(f *os.File) (device, inode uint64, err error) {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return 0, 0, err
	}
	return uint64(info.VolumeSerialNumber), uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow), nil
}

func pathIdentity(path string) (device, inode uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	device, inode, err = identityOf(f)
	return device, inode, errors.Join(err, f.Close())
}
