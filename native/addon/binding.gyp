{
  "targets": [
    {
      "target_name": "pem",
      "sources": [
        "<!@(ls *.cc)",
        "<!@(ls ../core/*.c)"
      ],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")", "<!@(pg_config --includedir)"],
      "libraries": ["-L<!@(pg_config --libdir)", "-lpq"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED",
                  "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags": ["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"],
      "cflags!": ["-O2"],
      "cflags_c": ["-std=c11", "-D_GNU_SOURCE"],
      "cflags_cc": ["-std=c++17"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "conditions": [
        ["target_arch=='x64'", {"cflags": ["-march=x86-64-v2"]}],
        ["target_arch=='arm64'", {"cflags": ["-march=armv8-a+crc"]}]
      ]
    }
  ]
}
