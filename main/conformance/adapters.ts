// The models that cases can be run against.

import type { Adapter } from './adapter.ts';
import { kvmLapic, kvmNvmx, lapicArch } from './kvm/adapter.ts';
import { nestedL1View } from './l1_view/adapter.ts';
import { mixed } from './mixed/adapter.ts';
import { vmxCpu } from './vmx_cpu/adapter.ts';

export const adapters: readonly Adapter[] = [
  kvmLapic,
  kvmNvmx,
  lapicArch,
  mixed,
  nestedL1View,
  vmxCpu,
];
