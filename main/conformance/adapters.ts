// The models that cases can be run against.

import type { Adapter } from './adapter.ts';
import { kvmLapic, lapicArch } from './kvm/adapter.ts';
import { vmxCpu } from './vmx_cpu/adapter.ts';

export const adapters: readonly Adapter[] = [kvmLapic, lapicArch, vmxCpu];
