/** Error numbers that KVM's functions return, negated. */
export const EBUSY = 16;
export const EINVAL = 22;
