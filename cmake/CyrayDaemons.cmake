# gcs_server and raylet: the two programs that link gRPC, OpenSSL and SQLite, all statically.
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
