/** Error numbers that KVM's functions return, negated. */
export const ENOENT = 2;
export const ENXIO = 6;
export const EFAULT = 14;
/** The way that may not sleep has no answer. */
export const EWOULDBLOCK = 11;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const ERANGE = 34;
/** The access is for another device. */
export const EOPNOTSUPP = 95;
/** Of hypercalls: there is none with this number. */
export const KVM_ENOSYS = 1000;
