//! Where a journal is kept.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// What a journal is written to, by one writer.
pub trait Storage: Send {
    /// All bytes.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Adds bytes at the end, by one system call if the system lets us.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when what was appended survives a crash of the machine.
    fn sync(&mut self) -> io::Result<()>;
    /// Drops all bytes from `length` on.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Has these bytes instead of all others, all at once or, after an error, not at all. With `sync`,
    /// a crash of the machine leaves these or the others.
    fn replace(&mut self, bytes: &[u8], sync: bool) -> io::Result<()>;
    /// Returns when a crash of the machine does not bring back what was replaced.
    fn sync_name(&mut self) -> io::Result<()>;
}

/// A file, locked against other writers.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: Flock<File>,
}

impl JournalFile {
    /// Opens the file and locks it; `None` if there is none.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if another one has it open.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = match File::options().read(true).append(true).open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            if !file.metadata()?.is_file() {
                return Err(ErrorKind::InvalidInput.into()); // reading it may never end
            }
            let file = lock(file)?;
            // Whoever had the lock may have put another file here before.
            if is_at(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), file }));
            }
        }
    }

    /// Makes the file with these bytes.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` if it is there, `WouldBlock` if another one makes it.
    pub(super) fn create(path: &Path, bytes: &[u8], sync: bool) -> io::Result<Self> {
        let file = begin_new(path)?;
        if path.try_exists()? {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = put_in_place(file, path, bytes, sync)?;
        let mut created = Self { path: path.to_owned(), file };
        if sync {
            created.sync_name()?;
        }
        Ok(created)
    }
}

impl Storage for JournalFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn replace(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        self.file = put_in_place(begin_new(&self.path)?, &self.path, bytes, sync)?;
        Ok(())
    }

    fn sync_name(&mut self) -> io::Result<()> {
        // The parent of a mere name is the empty path.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn lock(file: File) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Whether this is the file that the path leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((own.dev(), own.ino()) == (found.dev(), found.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// An empty file beside the one of this path, which nobody else writes to.
fn begin_new(path: &Path) -> io::Result<Flock<File>> {
    let (mut options, beside) = (File::options(), beside(path));
    options.read(true).append(true).create(true).mode(0o600);
    loop {
        let file = lock(options.open(&beside)?)?;
        if is_at(&file, &beside)? {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

fn put_in_place(
    mut file: Flock<File>,
    path: &Path,
    bytes: &[u8],
    sync: bool,
) -> io::Result<Flock<File>> {
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(beside(path), path)?;
    Ok(file)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
