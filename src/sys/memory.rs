//! What the C library's allocator keeps of memory that was freed, for a program that runs on and on.
//!
//! A full look needs several times what is kept of it, on threads of its own. glibc keeps that for later, in an arena for
//! each thread (mallopt(3), malloc_trim(3)). Other C libraries have neither, and there nothing is done.

/// Has all threads share one arena, from now on; best called before there are any.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    {
        // SAFETY: sets a number in the allocator, under its own lock.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Gives back to the kernel what is free.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    {
        // SAFETY: releases pages that are not in use, under the allocator's own lock.
        unsafe { libc::malloc_trim(0) };
    }
}
