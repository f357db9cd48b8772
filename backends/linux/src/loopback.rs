//! A file as a block device.

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_READ_ONLY, LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE,
    loop_config,
};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, NoArg, Opcode, Setter};
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A loop device that lives as long as this and whatever has it open (a mount): the kernel takes
/// it apart after its last user, also when the process is killed.
#[derive(Debug)]
pub struct Loop {
    path: PathBuf,
    device: File,
}

impl Loop {
    /// Makes a block device of `file`.
    ///
    /// # Errors
    /// There are no loop devices here, or this is not root.
    pub fn attach(file: &Path, read_only: bool) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(!read_only).open(path);
        let file = open(file)?;
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        // SAFETY: the structure is plain integers, for which all zeros are a value.
        let mut config: loop_config = unsafe { std::mem::zeroed() };
        config.fd = file.as_raw_fd().cast_unsigned();
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR as u32;
        if read_only {
            config.info.lo_flags |= LO_FLAGS_READ_ONLY as u32;
        }
        // Another process may take the free number first; each round somebody gets one.
        for _ in 0..256 {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument and answers with a number.
            let number = unsafe { ioctl::ioctl(&control, GetFree) }?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path)?;
            // SAFETY: LOOP_CONFIGURE reads one `loop_config`, whose descriptor is open.
            match unsafe { ioctl::ioctl(&device, Setter::<{ LOOP_CONFIGURE }, _>::new(config)) } {
                Ok(()) => return Ok(Self { path, device }),
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// The device's path, `/dev/loop0`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the device apart now, or as soon as its last user is gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(self) -> io::Result<()> {
        // SAFETY: LOOP_CLR_FD takes no argument.
        Ok(unsafe { ioctl::ioctl(&self.device, NoArg::<{ LOOP_CLR_FD }>::new()) }?)
    }
}

/// `LOOP_CTL_GET_FREE`: the answer is the call's return value.
struct GetFree;

// SAFETY: the opcode takes no argument and returns a non-negative number.
unsafe impl Ioctl for GetFree {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}
